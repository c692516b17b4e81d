/** Encodings of the data: what DiffEnc noises in the data's place. */
export { type Encoded, Encoding, type EncodingContext } from "./encoding.js";
export { Identity, NonTrainable } from "./fixed.js";
export { Trainable, type TrainableOptions } from "./trainable.js";
