// The npm OFREP provider in the OpenFeature server SDK, as an application uses it.
//
//   node ofrep.mjs URL evaluate   reads cases, one JSON object a line, and writes an outcome for each
//   node ofrep.mjs URL watch KEY  writes the string flag's value now and, once it is another, again
//
// It judges nothing: the tests in test_node_ofrep.py compare.

import { createInterface } from "node:readline";
import { OpenFeature } from "@openfeature/server-sdk";
import { OFREPProvider } from "@openfeature/ofrep-provider";

const WATCH_MS = 10_000; // bound of a wait, not expectation
const PAUSE_MS = 5;

const METHODS = {
  boolean: "getBooleanDetails",
  string: "getStringDetails",
  integer: "getNumberDetails",
  float: "getNumberDetails",
  object: "getObjectDetails",
};

const print = (value) => process.stdout.write(`${JSON.stringify(value)}\n`);

async function evaluate(client) {
  for await (const line of createInterface({ input: process.stdin })) {
    const { flag, kind, default: fallback, context } = JSON.parse(line);
    const details = await client[METHODS[kind]](flag, fallback, context);
    print({
      value: details.value,
      reason: details.reason,
      variant: details.variant ?? null,
      error: details.errorCode ?? null,
      message: details.errorMessage ?? "",
      metadata: details.flagMetadata,
    });
  }
}

async function watch(client, key) {
  const first = await client.getStringValue(key, "default");
  print(first);
  const deadline = Date.now() + WATCH_MS;
  while (Date.now() < deadline) {
    const value = await client.getStringValue(key, "default");
    if (value !== first) {
      print(value);
      return;
    }
    await new Promise((resume) => setTimeout(resume, PAUSE_MS));
  }
  throw new Error(`${key} did not change within ${WATCH_MS} ms`);
}

const [url, command, key] = process.argv.slice(2);
await OpenFeature.setProviderAndWait(new OFREPProvider({ baseUrl: url }));
const client = OpenFeature.getClient();
await (command === "watch" ? watch(client, key) : evaluate(client));
await OpenFeature.close();
