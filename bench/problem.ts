/** Work for a model that another side can be given too: what it is asked for, and what both must agree on. */
import type { ImageModel } from "varidiff/diffusion";
import { type FloatDtype, type Generator, randint, randn, Streams, scope, type Tensor } from "varidiff/torch";

/** Images that both sides must agree on: few, so that they leave no mark on the memory of the work that is measured. */
export const knownImages = 4;

/** Which work of the other side it is. */
export interface OtherSide {
  /** Of bench/python. */
  readonly script: string;
  /** What the script has to know besides tensors. */
  readonly work?: string;
}

/** A model with weights off their initial values, random images, and draws that another side can be given. */
export abstract class Problem<S extends ImageModel = ImageModel> {
  abstract readonly otherSide: OtherSide;
  /** For the first images, by the names that the other side knows them by. */
  abstract readonly draws: Readonly<Record<string, Tensor>>;
  /** What a rate in images/s is of besides, as in `images/s, 4 steps`. */
  readonly unit: string = "images/s";
  /** Of known values, relative to the largest in their list: float32 sums in another order, and what follows from them. */
  readonly tolerance: number = 1e-4;
  readonly system: S;
  readonly pixels: Tensor;
  protected readonly device: string;
  protected readonly streams = new Streams(1);
  protected readonly generator: Generator;

  constructor(system: S, batch: number, device = "cpu") {
    this.system = system;
    this.device = device;
    system.initialise(this.streams, { device });
    const generator = this.streams.generator("data");
    // Off the initial values: where the output convolution is zero, a mistake before it would not show.
    for (const parameter of system.parameters())
      scope(() =>
        parameter.set(
          parameter.value.detach().add(randn(parameter.shape, generator).mul(0.02).toDevice(device)),
        ),
      );
    this.pixels = this.placed(randint(0, 256, [batch, ...system.shape], generator, { dtype: "uint8" }));
    this.generator = generator;
  }

  /** On the device, for as long as the problem is. */
  protected placed(drawn: Tensor): Tensor {
    return drawn.toDevice(this.device).keep();
  }

  /** What comes of the first images with the problem's own draws, without dropout. */
  abstract known(precision: FloatDtype): Promise<readonly (readonly number[])[]>;

  /** The work itself, for all images, with fresh draws. */
  abstract run(precision: FloatDtype): Promise<void>;

  /** From now on the work is launched as a CUDA graph. @throws Error where it cannot be captured */
  async capture(): Promise<void> {
    throw new Error("expected work that can be launched as a CUDA graph");
  }

  dispose(): void {
    this.system.dispose();
    for (const tensor of [this.pixels, ...Object.values(this.draws)]) tensor.dispose();
  }
}
