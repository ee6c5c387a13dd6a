// Original file: admin/v1/admin.proto


export interface ProviderTurn {
  'provider'?: (string);
  'outcome'?: (string);
  'why'?: (string);
}

export interface ProviderTurn__Output {
  'provider': (string);
  'outcome': (string);
  'why': (string);
}
