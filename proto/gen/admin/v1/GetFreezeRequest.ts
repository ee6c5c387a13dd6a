// Original file: admin/v1/admin.proto


export interface GetFreezeRequest {
}

export interface GetFreezeRequest__Output {
}
