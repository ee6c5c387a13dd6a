// Original file: inference/v1/inference.proto


export interface Usage {
  'promptTokens'?: (number);
  'completionTokens'?: (number);
  'cachedPromptTokens'?: (number);
  '_promptTokens'?: "promptTokens";
  '_completionTokens'?: "completionTokens";
  '_cachedPromptTokens'?: "cachedPromptTokens";
}

export interface Usage__Output {
  'promptTokens'?: (number);
  'completionTokens'?: (number);
  'cachedPromptTokens'?: (number);
  '_promptTokens'?: "promptTokens";
  '_completionTokens'?: "completionTokens";
  '_cachedPromptTokens'?: "cachedPromptTokens";
}
