// Answers of Unleash's SDK: a line of JSON in, a line of JSON out. See oracle.py.
//
// in   {"document": <answer of /api/client/features>, "contexts": [<context>]}
// out  [{<toggle>: [<isEnabled>, <getVariant>]}, ...], one a context

import { createInterface } from "node:readline";
import { createRequire } from "node:module";
import path from "node:path";

const require = createRequire(path.join(process.argv[2], "anchor.js"));
const { default: Client } = require("unleash-client/lib/client.js");
const { defaultStrategies } = require("unleash-client/lib/strategy/index.js");

for await (const line of createInterface({ input: process.stdin })) {
  const { document, contexts } = JSON.parse(line);
  const toggles = new Map(document.features.map((toggle) => [toggle.name, toggle]));
  const segments = new Map(document.segments.map((segment) => [segment.id, segment]));
  const repository = {
    getToggle: (name) => toggles.get(name),
    getSegment: (id) => segments.get(id),
  };
  const client = new Client(repository, defaultStrategies).on("error", () => {}); // of what is malformed
  const answers = contexts.map((context) =>
    Object.fromEntries(
      [...toggles.keys()].map((name) => {
        const isEnabled = client.isEnabled(name, context, () => false);
        const { enabled, name: variant, payload } = client.getVariant(name, context);
        return [name, [isEnabled, { enabled, name: variant, payload: payload ?? null }]];
      }),
    ),
  );
  process.stdout.write(JSON.stringify(answers) + "\n");
}
