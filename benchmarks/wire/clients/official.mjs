// The official JavaScript client: the same command line and the same figures as measure.py.
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { basename, join } from "node:path";
import { parseArgs } from "node:util";

const text = { type: "string" };
const { values: given, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    modules: text, // the folder that holds node_modules
    jobs: text,
    warm: text,
    "at-once": text,
    out: text,
    input: text,
    "small-warm-up": { type: "boolean" },
  },
});
const jobs = Number(given.jobs);
const warm = Number(given.warm);
const { createProdia } = createRequire(`${given.modules}/`)("prodia/v2");
const prodia = createProdia({ token: "none", baseUrl: positionals[0] });
const config = { prompt: "a hill at dawn", width: 1024, height: 1024, steps: 4 };

let taken = 0;
let ended = 0;
let began;
let figures;

function peakRss() {
  return Number(/VmHWM:\s*(\d+) kB/.exec(readFileSync("/proc/self/status", "utf8"))[1]) * 1024;
}

function begin() {
  const hasProc = existsSync("/proc/self/clear_refs");
  if (hasProc) writeFileSync("/proc/self/clear_refs", "5");
  began = { cpu: process.cpuUsage(), wall: performance.now(), rss: hasProc ? peakRss() : null };
}

function close() {
  const { user, system } = process.cpuUsage(began.cpu);
  const wall = (performance.now() - began.wall) / 1000;
  const rss = began.rss === null ? null : Math.max(0, peakRss() - began.rss);
  figures = { cpu: (user + system) / 1e6, wall, jobs, rss };
}

async function run(number) {
  const isSmall = given["small-warm-up"] && number < warm;
  const inputs = given.input && !isSmall ? [new File([readFileSync(given.input)], basename(given.input))] : [];
  const done = await prodia.job({ type: isSmall ? "wire.small.v1" : "wire.bytes.v1", config }, { inputs });
  const output = (await done.formData()).get("output");
  await writeFile(join(given.out, `${number}.bin`), Buffer.from(await output.arrayBuffer()));
}

async function work() {
  while (!figures) {
    await run(taken++);
    ended += 1;
    if (ended === warm) begin();
    if (ended === warm + jobs) close();
  }
}

await Promise.all(Array.from({ length: Number(given["at-once"]) }, work));
console.log(JSON.stringify(figures));
