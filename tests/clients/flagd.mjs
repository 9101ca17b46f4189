// flagd's own evaluator for applications in JavaScript, as a program: reads a line
// {"file", "keys", "contexts"}, writes a line with what each flag is for each context, in order.
import { createInterface } from "node:readline";
import { FlagdCore } from "@openfeature/flagd-core";

const silent = { error() {}, warn() {}, info() {}, debug() {} };

for await (const line of createInterface({ input: process.stdin })) {
  const { file, keys, contexts } = JSON.parse(line);
  const core = new FlagdCore(undefined, silent);
  core.setConfigurations(JSON.stringify(file));
  const found = keys.flatMap((key) =>
    contexts.map((context) => core.getFlag(key).evaluate(context, silent)),
  );
  console.log(
    JSON.stringify(
      found.map(({ value, variant, reason, errorCode, flagMetadata }) => ({
        value: errorCode ? null : (value ?? null),
        variant: errorCode ? null : (variant ?? null),
        reason: errorCode ? "ERROR" : reason,
        error: errorCode ?? null,
        metadata: errorCode ? {} : flagMetadata,
      })),
    ),
  );
}
