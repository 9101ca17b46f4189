// Answers of GrowthBook's SDK: a line of JSON in, a line of JSON out. See oracle.py.
//
// in   {"document": <payload>, "contexts": [<attributes, and $growthbook>]}
// out  [[<answer of each feature, in order>], ...], one list a context

import { createInterface } from "node:readline";
import { createRequire } from "node:module";
import path from "node:path";

const require = createRequire(path.join(process.argv[2], "anchor.js"));
const { GrowthBook, StickyBucketService } = require("@growthbook/growthbook");

console.error = () => {}; // it tells of unknown operators

class Store extends StickyBucketService {
  async getAssignments() {
    return null;
  }
  async saveAssignments() {}
}

function answered(document, key, context) {
  const { $growthbook: request, ...attributes } = context;
  const asked = request ?? {};
  const sticky = asked.stickyBucketAssignmentDocs;
  const gb = new GrowthBook({
    attributes,
    url: asked.url ?? "",
    enabled: asked.enabled ?? true,
    qaMode: asked.qaMode ?? false,
    forcedVariations: asked.forcedVariations ?? {},
    ...(sticky && { stickyBucketService: new Store(), stickyBucketAssignmentDocs: structuredClone(sticky) }),
  }).initSync({ payload: document });
  if (sticky) gb._options.stickyBucketAssignmentDocs = structuredClone(sticky);
  let found;
  try {
    const definition = document.features[key];
    found = "rules" in definition || !definition.variations ? gb.evalFeature(key) : ran(gb, definition);
  } catch (error) {
    return { thrown: String(error) };
  }
  const { value, source, ruleId, experiment, experimentResult: result } = found;
  return {
    value: value ?? null,
    source,
    ruleId: ruleId || null,
    ...(result && {
      experiment: {
        key: experiment.key,
        place: result.variationId,
        variation: result.key,
        name: result.name ?? null,
        attribute: result.hashAttribute,
        hashUsed: result.hashUsed,
        sticky: result.stickyBucketUsed,
        phase: experiment.phase ?? null,
        leaf: result.leafId ?? null,
        weights: result.variationWeights ?? null,
      },
    }),
  };
}

// An experiment of an application's own code, said as a feature is.
function ran(gb, experiment) {
  const result = gb.run(experiment);
  const told = result.inExperiment && { experiment, experimentResult: result };
  return { value: result.value, source: told ? "experiment" : "defaultValue", ...told };
}

for await (const line of createInterface({ input: process.stdin })) {
  const { document, contexts } = JSON.parse(line);
  const keys = Object.keys(document.features);
  const answers = contexts.map((context) =>
    Object.fromEntries(keys.map((key) => [key, answered(document, key, context)])),
  );
  process.stdout.write(JSON.stringify(answers) + "\n");
}
