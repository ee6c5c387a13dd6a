// Original file: admin/v1/admin.proto


export interface Model {
  'id'?: (string);
  'readyEngines'?: (number);
  'engines'?: (number);
  'runningRequests'?: (number);
  'simulated'?: (boolean);
  'contextTokens'?: (number);
  'queuedRequests'?: (number);
  '_contextTokens'?: "contextTokens";
}

export interface Model__Output {
  'id': (string);
  'readyEngines': (number);
  'engines': (number);
  'runningRequests': (number);
  'simulated': (boolean);
  'contextTokens'?: (number);
  'queuedRequests': (number);
  '_contextTokens'?: "contextTokens";
}
