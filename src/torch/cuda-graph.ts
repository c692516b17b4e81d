/** Work of a CUDA device recorded once and then launched with one call. Not yet run on hardware: docs/gpu.md. */
import { cudaIndex } from "./device.js";
import { type Handle, type NativeCuda, nativeCuda } from "./native.js";
import { withoutHost } from "./seal.js";

/**
 * A CUDA graph. The tensors that `capture` reads and returns keep their places in memory: put new numbers into the former
 * (`copy_`), call `replay`, read the latter. Both live as long as the graph, `keep()` them.
 */
export class CudaGraph {
  readonly #bridge: NativeCuda;
  readonly #handle: Handle;
  #state: "empty" | "captured" | "disposed" = "empty";

  /** @throws UserError where `device` is no CUDA device, or the bridge was built without CUDA's headers */
  constructor(device: string) {
    const index = cudaIndex(device);
    this.#bridge = nativeCuda();
    this.#handle = this.#bridge.makeGraph(index);
  }

  /** Runs on the stream of the recording, waiting before and after: what libraries set up at first use is not recorded. */
  warmUp<R>(run: () => R): R {
    this.#bridge.enterGraphStream(this.#handle);
    try {
      return run();
    } finally {
      this.#bridge.leaveGraphStream(this.#handle);
    }
  }

  /**
   * Records what `run` asks of the device; nothing of it is computed before `replay`.
   * @throws UserError where `run` reads a number, makes a tensor of numbers, or draws
   */
  capture<R>(run: () => R): R {
    if (this.#state !== "empty") throw new Error(`expected an empty graph, got one that is ${this.#state}`);
    return this.warmUp(() => {
      this.#bridge.beginCapture(this.#handle);
      let result: R;
      try {
        result = withoutHost(run);
      } catch (error) {
        this.#abandon();
        throw error;
      }
      this.#bridge.endCapture(this.#handle);
      this.#state = "captured";
      return result;
    });
  }

  /** Ends a recording that failed; CUDA's own complaint about that says less than the first error. */
  #abandon(): void {
    try {
      this.#bridge.endCapture(this.#handle);
    } catch {
      // said already
    }
    this.dispose();
  }

  /** Launches what was recorded, behind all earlier work; returns before it is done. */
  replay(): void {
    if (this.#state !== "captured")
      throw new Error(`expected a captured graph, got one that is ${this.#state}`);
    this.#bridge.replayGraph(this.#handle);
  }

  /** Frees the recording and the memory of what it computes. */
  dispose(): void {
    if (this.#state !== "disposed") this.#bridge.resetGraph(this.#handle);
    this.#state = "disposed";
  }
}
