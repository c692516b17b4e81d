/** Images as a feature network wants them: its size, its channels, its range. */
import { UserError } from "../../errors.js";
import { cat, fromTypedArray, scope, type Tensor } from "../../torch/index.js";

/**
 * How pixels of another size are interpolated. `bilinear`: centres on centres, as PyTorch does. `bilinear-corner`: corners
 * on corners, pixel i at `i * from / to`, as the graph does that FID was defined with (TensorFlow 1).
 */
export const resizings = ["bilinear", "bilinear-corner"] as const;

export type Resizing = (typeof resizings)[number];

/** What a network is given. */
export interface InputLayout {
  /** 1 or 3; as the images have it where null. Grey is repeated. */
  readonly channels: number | null;
  /** Height and width; as the images have them where null. */
  readonly size: number | null;
  readonly resize: Resizing;
  /** What the bytes 0 and 255 become. */
  readonly range: readonly [number, number];
}

/** `[to, from]`: the weights of `from` pixels in each of `to`; rows have sum 1. There is no smoothing before. */
export function interpolation(from: number, to: number, how: Resizing): Tensor {
  const weights = new Float32Array(to * from);
  for (let i = 0; i < to; i++) {
    const at = how === "bilinear" ? ((i + 0.5) * from) / to - 0.5 : (i * from) / to;
    const place = Math.min(Math.max(at, 0), from - 1);
    const low = Math.floor(place);
    const high = Math.min(low + 1, from - 1);
    const part = place - low;
    weights[i * from + low] = (weights[i * from + low] as number) + 1 - part;
    weights[i * from + high] = (weights[i * from + high] as number) + part;
  }
  return fromTypedArray(weights, [to, from]);
}

/**
 * uint8 `pixels` `[N, C, H, W]` as float32 of the layout's channels, size and range.
 * @throws UserError for colour images where the network takes grey ones
 */
export function prepared(pixels: Tensor, { channels, size, resize, range }: InputLayout): Tensor {
  return scope(() => {
    const [, has = 1, height = 1, width = 1] = pixels.shape;
    if (channels === 1 && has === 3)
      throw new UserError(
        "expected grey images for this feature network, got colour ones: give another --features",
      );
    const [low, high] = range;
    let x = pixels.to("float32");
    if (size !== null && (height !== size || width !== size)) {
      const [rows, columns] = [interpolation(height, size, resize), interpolation(width, size, resize)];
      x = rows.toDevice(x.device).matmul(x).matmul(columns.toDevice(x.device).transpose(0, 1));
    }
    x = x.mul((high - low) / 255).add(low);
    return channels === 3 && has === 1 ? cat([x, x, x], 1) : x;
  });
}
