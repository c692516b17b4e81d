/** What is refused where there is no CUDA device, and while a CUDA graph is captured. */
import { describe, expect, it } from "vitest";
import {
  CudaGraph,
  cudaIndex,
  deviceName,
  dropout,
  Generator,
  linspace,
  peakDeviceMemory,
  randn,
  resetPeakDeviceMemory,
  Streams,
  synchronise,
  tensor,
  torchVersion,
  withoutHost,
} from "../../src/torch/index.js";

describe("where a CUDA device is expected", () => {
  const asked = {
    cudaIndex,
    deviceName,
    peakDeviceMemory,
    resetPeakDeviceMemory,
    graph: (device: string) => new CudaGraph(device),
  };
  it.each(Object.entries(asked))("%s refuses the CPU in one line", (_, ask) => {
    expect(() => ask("cpu")).toThrow(/^expected a CUDA device \(cuda or cuda:N\), got "cpu"$/);
  });

  const { cudaDevices } = torchVersion();
  it.each(Object.entries({ ...asked, synchronise }))("%s refuses a device that is not there", (_, ask) => {
    expect(() => ask(`cuda:${cudaDevices}`)).toThrow(`expected one of ${cudaDevices} CUDA devices`);
  });

  it("has nothing to wait for on the CPU", () => {
    expect(synchronise("cpu")).toBeUndefined();
  });
});

describe("withoutHost", () => {
  const x = tensor([1, 2, 3]).keep();
  const generator = new Generator({ seed: 1 });
  const meetings: Readonly<Record<string, () => unknown>> = {
    "a number read from a tensor": () => x.sum().item(),
    "numbers read from a tensor": () => x.toArray(),
    "a tensor made of numbers": () => tensor([1, 2]),
    "a tensor moved between devices": () => x.toDevice("cpu"),
    "a draw": () => randn([3], generator),
    dropout: () => dropout(x, 0.1, new Streams(1).dropoutKeys()),
  };

  it.each(Object.entries(meetings))("refuses %s, and only inside", (what, meet) => {
    expect(() => withoutHost(meet)).toThrow(`expected a computation on the device alone, got ${what}, which`);
    expect(meet).not.toThrow();
  });

  it("lets through what stays on the device", () => {
    const sum = withoutHost(() =>
      x
        .mul(2)
        .add(linspace(0, 1, 3))
        .sum(),
    );
    expect(sum.item()).toBe(13.5);
  });
});
