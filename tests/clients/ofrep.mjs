// The npm OFREP provider in the OpenFeature server SDK, as an application uses it.
//
//   node ofrep.mjs URL [HEADER=VALUE...]
//
// Reads cases, one JSON object a line, and writes a line for each with what the application saw.
// It judges nothing: the tests compare.

import { createInterface } from "node:readline";
import { OpenFeature } from "@openfeature/server-sdk";
import { OFREPProvider } from "@openfeature/ofrep-provider";

const METHODS = {
  boolean: "getBooleanDetails",
  string: "getStringDetails",
  integer: "getNumberDetails",
  float: "getNumberDetails",
  object: "getObjectDetails",
};

const [baseUrl, ...sent] = process.argv.slice(2);
const headers = sent.map((header) => header.split(/=(.*)/s, 2));
await OpenFeature.setProviderAndWait(new OFREPProvider({ baseUrl, headers }));
const client = OpenFeature.getClient();
for await (const line of createInterface({ input: process.stdin })) {
  const { flag, kind, default: fallback, context } = JSON.parse(line);
  const details = await client[METHODS[kind]](flag, fallback, context);
  const seen = {
    value: details.value,
    reason: details.reason,
    variant: details.variant ?? null,
    error: details.errorCode ?? null,
    message: details.errorMessage ?? "",
    metadata: details.flagMetadata,
  };
  process.stdout.write(`${JSON.stringify(seen)}\n`);
}
await OpenFeature.close();
