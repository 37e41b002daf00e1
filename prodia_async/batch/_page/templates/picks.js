// The picked jobs: kept by this browser, and given out as a list of ids or as a manifest to run again.

const KEPT = `prodia-async picks ${location.pathname}`;
const picked = new Set(readPicks());

function readPicks() {
  try {
    const there = new Set(jobs.map((job) => job.key));
    return JSON.parse(localStorage.getItem(KEPT) || "[]").filter((key) => there.has(key));
  } catch {
    return []; // not every browser keeps anything for a file
  }
}

function keepPicks() {
  try {
    if (picked.size) localStorage.setItem(KEPT, JSON.stringify([...picked]));
    else localStorage.removeItem(KEPT);
  } catch {
    // They last as long as the page is open.
  }
}

const pickedJobs = () => jobs.filter((job) => picked.has(job.key));

// An input's path as this computer knows it, where the page was opened from a file.
function pathOf(file) {
  const url = new URL(file.href, location.href);
  if (url.protocol !== "file:") return decodeURIComponent(file.href);
  return decodeURIComponent(url.pathname).replace(/^\/([A-Za-z]:)/, "$1");
}

// JSON where it is JSON, else text; a prompt is always text: as on the command line.
function valueOf(key, text) {
  if (/(^|_)prompt$/.test(key)) return text;
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

function readConfig(text) {
  const pairs = text.split("\n").filter((line) => line.trim()).map((line) => {
    const at = line.indexOf("=");
    const key = line.slice(0, Math.max(0, at)).trim();
    return [key, key && valueOf(key, line.slice(at + 1).trim())];
  });
  return { config: Object.fromEntries(pairs.filter(([key]) => key)), bad: pairs.filter(([key]) => !key).length };
}

// A line of a manifest; null for a job that this page does not know whole.
function lineOf(job, { type, config, newSeed }) {
  if (!job.whole || isCut(job) || job.inputs.includes(null)) return null;
  try {
    const seed = newSeed || !job.seed || "seed" in config ? "" : `"seed":${job.seed},`;
    const rest = { ...(job.prompt ? { prompt: job.prompt } : {}), ...JSON.parse(job.config || "{}"), ...config };
    const text = JSON.stringify(rest).replace("{", `{${Object.keys(rest).length ? seed : seed.slice(0, -1)}`);
    const ids = data.folders.length > 1 ? `${job.id} (${data.folders[job.folder].name})` : job.id;
    const head = JSON.stringify({ custom_id: ids, type: type || job.type }).slice(0, -1);
    const tail = { ...(job.inputs.length ? { inputs: job.inputs.map(pathOf) } : {}), ...JSON.parse(job.request || "{}") };
    return `${head},"config":${text}${Object.keys(tail).length ? `,${JSON.stringify(tail).slice(1)}` : "}"}`;
  } catch {
    return null; // a name that is no text
  }
}

const shellWord = (text) => (/^[\w./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`);

function drawAgain() {
  const { config, bad } = readConfig(byId("again-config").value);
  const list = pickedJobs();
  const options = { type: byId("again-type").value.trim(), config, newSeed: byId("again-seed").checked };
  const lines = list.map((job) => lineOf(job, options)).filter((line) => line !== null);
  const left = list.length - lines.length;
  byId("again-title").textContent = `Run ${plural(list.length, "picked job")} again`;
  byId("again-note").textContent = [
    left ? `${plural(left, "job")} left out: this page does not have all of a very long one. Its id is in the list of ids.` : "",
    bad ? `${plural(bad, "line")} of the config without a "=".` : "",
  ].filter(Boolean).join(" ");
  const outside = list.some((job) => job.inputs.length) ? " --allow-outside" : "";
  const title = document.querySelector("h1").textContent.replace(/[^\p{L}\p{N}._-]+/gu, "-").replace(/^[-.]+/, "") || "batch";
  byId("again-command").textContent = `prodia-async batch picks.jsonl --out ${shellWord(`${title}-again`)}${outside}`;
  const save = byId("again-save");
  URL.revokeObjectURL(save.href);
  save.href = URL.createObjectURL(new Blob([lines.map((line) => `${line}\n`).join("")], { type: "application/x-ndjson" }));
  save.classList.toggle("off", lines.length === 0);
}

async function copy(text, button) {
  const label = button.textContent;
  let done = true;
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const area = element("textarea", { class: "hidden" });
    area.value = text;
    (button.closest("dialog") || document.body).append(area);
    area.select();
    done = document.execCommand("copy");
    area.remove();
  }
  button.textContent = done ? "Copied" : "Not copied";
  setTimeout(() => { button.textContent = label; }, 1500);
}

function drawPicks(list) {
  byId("picks").hidden = picked.size === 0;
  document.body.classList.toggle("picking", picked.size > 0);
  byId("picked").textContent = `${count(picked.size)} picked`;
  const rest = list.filter((job) => !picked.has(job.key)).length;
  byId("pick-all").hidden = rest === 0;
  byId("pick-all").textContent = `Pick all ${count(list.length)}`;
}
