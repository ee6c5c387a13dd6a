// Original file: admin/v1/admin.proto


export interface ListEnginesRequest {
}

export interface ListEnginesRequest__Output {
}
