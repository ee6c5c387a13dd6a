// Original file: fleet/v1/fleet.proto


export interface TicketKey {
  'keyId'?: (string);
  'publicKey'?: (Buffer | Uint8Array | string);
}

export interface TicketKey__Output {
  'keyId': (string);
  'publicKey': (Buffer);
}
