/** The adaptive solver: against SciPy, closed forms, and its manners (memory, signals, errors). */
import { describe, expect, test } from "vitest";
import { type Derivative, type SolveOptions, solve } from "../../src/diffusion/likelihood/rk45.js";
import { liveTensors, ones, stack, type Tensor, tensor, zeros } from "../../src/torch/index.js";
import { collectGarbage } from "../garbage.js";
import { close } from "../golden.js";

const state = (...values: number[]) => [tensor(values, { dtype: "float64" })];
const unit = { t0: 0, t1: 1, rtol: 1e-5, atol: 1e-5 };
const growth: Derivative = (_, [y]) => [y as Tensor];

/** A pendulum whose weight is let in at t = 0.7, pushed by a wave: steps are rejected at the jump. */
function pendulum(t: number, angle: Tensor, speed: Tensor): [Tensor, Tensor] {
  return [speed, (t > 0.7 ? angle.sin().mul(-30) : angle.mul(0)).add(Math.cos(3 * t))];
}

describe.each([
  {
    way: "forwards",
    options: { t0: 0, t1: 1.5, rtol: 1e-3, atol: 1e-6 },
    y0: [1, 0],
    y1: [-0.84946213309209, 4.464305454968412],
    evaluations: 110,
    times: [
      0, 0.000999000999000999, 0.010989010989010988, 0.11088911088911087, 0.3384488227338002,
      0.5660085345784895, 0.6814472578631428, 0.764909825875076, 0.8483723938870094, 1.0388166127939733,
      1.2292608317009373, 1.411057989743818, 1.5,
    ],
  },
  {
    way: "backwards",
    options: { t0: 1.5, t1: 0, rtol: 1e-3, atol: 1e-6 },
    y0: [1, -0.2],
    y1: [2.1477140771862953, -4.2951909111917335],
    evaluations: 74,
    times: [
      1.5, 1.488866278739033, 1.3775290661293629, 1.1800884359000356, 1.0017145155023754, 0.8238300642751157,
      0.7463973790039927, 0.6689646937328697, 0.5980299386404428, 0,
    ],
  },
])(
  "as scipy.integrate.solve_ivp (SciPy 1.17.1, RK45) goes $way",
  ({ options, y0, y1, evaluations, times }) => {
    const agree = ({ y, ...cost }: Awaited<ReturnType<typeof solve>>) => {
      close(
        y.flatMap((v) => v.toArray()),
        y1,
        1e-10,
        "y",
      );
      close(cost.times, times, 1e-10, "times");
      expect(cost.evaluations).toBe(evaluations);
      expect(cost.accepted).toBe(times.length - 1);
      expect(2 + 6 * (cost.accepted + cost.rejected)).toBe(evaluations);
    };

    test("a state of one tensor", async () => {
      const derivative: Derivative = (t, [y]) => {
        const [angle, speed] = [(y as Tensor).select(0, 0), (y as Tensor).select(0, 1)];
        return [stack(pendulum(t, angle, speed))];
      };
      agree(await solve(derivative, { ...options, y0: state(...y0) }));
    });

    test("the same state in two", async () => {
      const derivative: Derivative = (t, [angle, speed]) => pendulum(t, angle as Tensor, speed as Tensor);
      agree(await solve(derivative, { ...options, y0: y0.flatMap((value) => state(value)) }));
    });
  },
);

test("a quartic is integrated exactly, as the formula of order five does", async () => {
  const derivative: Derivative = (t, [y]) => [(y as Tensor).mul(0).add(5 * t ** 4)];
  const { y } = await solve(derivative, { ...unit, rtol: 10, atol: 10, y0: state(0) });
  close(y[0], [1], 1e-14, "int_0^1 5 t^4 dt");
});

test("steps grow tenfold where nothing changes, and a tensor that the derivative keeps is left alone", async () => {
  const nothing = zeros([2], { dtype: "float64" });
  const reports: [number, number][] = [];
  const solved = await solve(() => [nothing], {
    ...unit,
    y0: state(1, 2),
    onStep: ({ t, evaluations }) => reports.push([t, evaluations]),
  });
  // The first step is 1e-6 where y' = y'' = 0; 1e-6 (10^6 - 1) / 9 is the last time below 1.
  const times = [0, 1e-6, 11e-6, 111e-6, 1111e-6, 11111e-6, 111111e-6, 1];
  close(solved.times, times, 1e-12, "times");
  close(
    reports.map(([t]) => t),
    times.slice(1),
    1e-12,
    "reported times",
  );
  expect(reports.map(([, evaluations]) => evaluations)).toEqual([8, 14, 20, 26, 32, 38, 44]);
  expect(solved.y[0]?.toArray()).toEqual([1, 2]);
  expect(nothing.toArray()).toEqual([0, 0]);
});

test("the state is float64 whatever comes", async () => {
  const y0 = ones([3]);
  const { y } = await solve((_, [v]) => [(v as Tensor).to("float32")], { ...unit, y0: [y0] });
  expect(y[0]?.dtype).toBe("float64");
  close(y[0], [Math.E, Math.E, Math.E], 1e-4, "e");
  expect(y0.toArray()).toEqual([1, 1, 1]);
});

test("the event loop gets its turns", async () => {
  let turns = 0;
  const seen: number[] = [];
  const count = () => {
    turns++;
    pending = setImmediate(count);
  };
  let pending = setImmediate(count);
  await solve(growth, { ...unit, y0: state(1), onStep: () => seen.push(turns) });
  clearImmediate(pending);
  expect(new Set(seen).size).toBe(seen.length);
});

describe("ends", () => {
  /** Runs to the end or to an error, and sees that no tensor is left. */
  async function leavesNothing(derivative: Derivative, options: SolveOptions): Promise<unknown> {
    collectGarbage();
    const before = liveTensors();
    const result = await solve(derivative, options).then(
      ({ y }) => {
        for (const tensor of y) tensor.dispose();
        return undefined;
      },
      (error: unknown) => error,
    );
    expect(liveTensors()).toBeLessThanOrEqual(before);
    return result;
  }

  test("in order", async () => {
    expect(await leavesNothing(growth, { ...unit, y0: state(1) })).toBeUndefined();
  });

  test("by a signal, between two steps", async () => {
    const controller = new AbortController();
    const times: number[] = [];
    const onStep = ({ t }: { readonly t: number }) => {
      if (times.push(t) === 2) controller.abort(new Error("enough"));
    };
    const { signal } = controller;
    const options = { ...unit, rtol: 1e-9, atol: 1e-9, y0: state(1), onStep, signal };
    expect(await leavesNothing(growth, options)).toEqual(new Error("enough"));
    expect(times.length).toBe(2);
  });

  test("by an error of the derivative", async () => {
    const derivative: Derivative = (t, [y]) => {
      if (t > 0.5) throw new Error("no further");
      return [(y as Tensor).mul(2)];
    };
    expect(await leavesNothing(derivative, { ...unit, y0: state(1) })).toEqual(new Error("no further"));
  });

  test("where the solution leaves the finite numbers: y' = y^2 at t = 1", async () => {
    const derivative: Derivative = (_, [y]) => [(y as Tensor).square()];
    const error = await leavesNothing(derivative, { ...unit, t1: 2, y0: state(1) });
    const message = error instanceof Error ? error.message : "";
    const at = Number(/cannot be solved beyond t = ([\d.]+),/.exec(message)?.[1]);
    expect(at).toBeCloseTo(1, 3);
  });

  test("where the derivative is not a number", async () => {
    const nowhere: Derivative = (_, [y]) => [(y as Tensor).log()];
    expect(String(await leavesNothing(nowhere, { ...unit, y0: state(-1) }))).toMatch(
      /expected a state and derivative of finite numbers at t = 0, got others/,
    );
    const half: Derivative = (t, [y]) => [(y as Tensor).mul(t > 0.5 ? Number.NaN : 1)];
    const error = await leavesNothing(half, { ...unit, y0: state(1) });
    expect(String(error)).toMatch(/cannot be solved beyond t = 0\.[45]/);
  });
});
