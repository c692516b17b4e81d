/** Registries of parts that a config chooses by `kind`: the options of each, and how it is made of them. */
import { z } from "zod";

/** A part by its name: the schema of its options with their defaults, and the thing they describe. */
export interface Part<K extends string, S extends z.ZodRawShape, Context, Made> {
  readonly kind: K;
  readonly schema: z.ZodObject<{ kind: z.ZodLiteral<K> } & S, z.core.$strict>;
  readonly create: (config: unknown, context: Context) => Made;
}

/** For one registry: a function that makes its entries. */
export function partsOf<Context, Made>() {
  return <K extends string, S extends z.ZodRawShape>(
    kind: K,
    options: S,
    create: (options: z.output<z.ZodObject<S>>, context: Context) => Made,
  ): Part<K, S, Context, Made> => {
    const schema = z.strictObject({ kind: z.literal(kind), ...options }) as unknown as Part<
      K,
      S,
      Context,
      Made
    >["schema"];
    return {
      kind,
      schema,
      create: (config, context) => create(schema.parse(config) as z.output<z.ZodObject<S>>, context),
    };
  };
}

type Schemas<T extends readonly { readonly schema: unknown }[]> = {
  -readonly [I in keyof T]: T[I]["schema"];
};

/** The schema of a config that names one of `parts`. */
export function choiceOf<const T extends readonly [{ schema: z.ZodObject }, ...{ schema: z.ZodObject }[]]>(
  parts: T,
): z.ZodDiscriminatedUnion<Schemas<T> & readonly z.ZodObject[], "kind"> {
  const schemas = parts.map(({ schema }) => schema) as unknown as readonly [z.ZodObject, ...z.ZodObject[]];
  return z.discriminatedUnion("kind", schemas) as never;
}

/** Makes the part that `config.kind` names. */
export function createPart<Context, Made>(
  parts: readonly { readonly kind: string; readonly create: (config: unknown, context: Context) => Made }[],
  config: { readonly kind: string },
  context: Context,
): Made {
  const found = parts.find(({ kind }) => kind === config.kind);
  if (!found)
    throw new Error(`expected one of ${parts.map(({ kind }) => kind).join(", ")}, got "${config.kind}"`);
  return found.create(config, context);
}
