// Answers of LaunchDarkly's SDK: a line of JSON in, a line of JSON out. See oracle.py.
//
// in   {"document": {"flags": ..., "segments": ...}, "contexts": [<context>]}
// out  [{<flag>: {"value", "index", "reason"}}, ...], one a context

import { createInterface } from "node:readline";
import { createRequire } from "node:module";
import path from "node:path";

const require = createRequire(path.join(process.argv[2], "anchor.js"));
const { init, basicLogger } = require("@launchdarkly/node-server-sdk");
const { TestData } = require("@launchdarkly/node-server-sdk/integrations");

const data = new TestData();
const client = init("sdk-key", {
  updateProcessor: data.getFactory(),
  sendEvents: false,
  diagnosticOptOut: true,
  logger: basicLogger({ level: "none" }),
});
await client.waitForInitialization({ timeout: 10 });

for await (const line of createInterface({ input: process.stdin })) {
  const { document, contexts } = JSON.parse(line);
  for (const segment of Object.values(document.segments)) {
    await data.usePreconfiguredSegment({ version: 1, ...segment });
  }
  for (const flag of Object.values(document.flags)) await data.usePreconfiguredFlag({ version: 1, ...flag });
  const answers = [];
  for (const context of contexts) {
    const found = {};
    for (const key of Object.keys(document.flags)) {
      const { value, variationIndex, reason } = await client.variationDetail(key, context, null);
      found[key] = { value: value ?? null, index: variationIndex ?? null, reason };
    }
    answers.push(found);
  }
  process.stdout.write(JSON.stringify(answers) + "\n");
}
client.close();
