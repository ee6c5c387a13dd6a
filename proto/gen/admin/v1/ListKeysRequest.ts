// Original file: admin/v1/admin.proto


export interface ListKeysRequest {
}

export interface ListKeysRequest__Output {
}
