/** An ONNX file with a layout as a feature network, where onnxruntime-web is installed. */
import fs from "node:fs";
import { UserError } from "../../errors.js";
import { explained } from "../../io/index.js";
import { fromTypedArray, scope, type Tensor } from "../../torch/index.js";
import type { FeatureNetwork } from "./feature-network.js";
import type { LaidOut } from "./layout.js";
import { namedOutputs } from "./outputs.js";
import { prepared } from "./resampling.js";

/** As far as it is used here: onnxruntime.ai/docs/api/js. */
interface Runtime {
  readonly InferenceSession: { create(model: Uint8Array): Promise<Session> };
  readonly Tensor: new (type: "float32", data: Float32Array, dims: readonly number[]) => Value;
}

interface Session {
  readonly inputNames: readonly string[];
  readonly outputNames: readonly string[];
  run(feeds: Readonly<Record<string, Value>>): Promise<Readonly<Record<string, Value>>>;
}

interface Value {
  readonly data: unknown;
  readonly dims: readonly number[];
}

/** Loads the runtime; `specifier` is for tests. @throws UserError where it is not installed */
async function runtime(file: string, specifier: string): Promise<Runtime> {
  try {
    return (await import(specifier)) as Runtime;
  } catch (cause) {
    throw new UserError(
      `${file} needs onnxruntime-web, which is not installed: npm install onnxruntime-web`,
      {
        cause,
      },
    );
  }
}

/**
 * An output is a place among those of the graph, or the name of one. Computed on the CPU.
 * @throws UserError where onnxruntime-web is not installed or does not read the file
 */
export async function onnxFeatures(
  laid: LaidOut,
  { specifier = "onnxruntime-web" }: { readonly specifier?: string } = {},
): Promise<FeatureNetwork> {
  const { InferenceSession, Tensor: OnnxTensor } = await runtime(laid.file, specifier);
  const bytes = explained("read", laid.file, () => fs.readFileSync(laid.file));
  const session = await InferenceSession.create(bytes).catch((cause: Error) => {
    throw new UserError(
      `${laid.file} is no ONNX file that this runtime reads: ${cause.message.split("\n")[0]}`,
      {
        cause,
      },
    );
  });
  const [input = "input"] = session.inputNames;
  return {
    name: laid.name,
    fingerprint: laid.fingerprint,
    standing: "other",
    async compute(pixels) {
      const { data, shape } = scope(() => {
        const x = prepared(pixels, laid.layout.input);
        return { data: x.toTypedArray() as Float32Array, shape: x.shape };
      });
      const returned = await session.run({ [input]: new OnnxTensor("float32", data, shape) });
      return scope(() =>
        namedOutputs(laid, shape[0] as number, (output): Tensor | undefined => {
          // A graph takes no arguments.
          const name = typeof output === "number" ? session.outputNames[output] : output;
          const value = typeof name === "string" ? returned[name] : undefined;
          return value?.data instanceof Float32Array ? fromTypedArray(value.data, value.dims) : undefined;
        }),
      );
    },
  };
}
