// The jobs, which of them are looked for, and the address that says so; numbers as people read them.

const PAGE = 60;
const data = JSON.parse(document.getElementById("data").textContent);
const jobs = data.rows.map((values, place) => readJob(values, place));

function readJob(values, place) {
  const job = Object.fromEntries(data.columns.map((name, column) => [name, values[column]]));
  const base = data.folders[job.folder].url;
  const isWhole = (url) => /^\w+:\/\//.test(url);  // of a store: paths have no such part
  const file = (value) => value && {
    base, url: value[0], href: isWhole(value[0]) ? value[0] : base + value[0], media: data.texts[value[1]], size: value[2], preview: value[3],
  };
  for (const name of ["type", "config", "request", "course"]) job[name] = data.texts[job[name]];
  job.place = place;
  job.key = `${data.folders[job.folder].name}\n${job.id}`;
  job.files = job.files.map(file);
  job.inputs = job.inputs.map(file);
  if (job.error) {
    const [label, message, request_id, may_have_run, why] = job.error;
    job.error = { label: data.texts[label], message: data.texts[message], request_id, may_have_run, why };
  }
  return job;
}

function searchText(job) {
  if (job.search === undefined) {
    const error = job.error ? [job.error.label, job.error.message, job.error.request_id || ""] : [];
    const texts = [job.id, job.prompt, job.type, job.seed, job.config, job.request, ...error];
    job.search = texts.join("\n").toLowerCase();
  }
  return job.search;
}

const falling = (name) => (a, b) => (b[name] ?? -1) - (a[name] ?? -1) || a.place - b.place;
const ORDERS = {
  id: (a, b) => (a.id < b.id ? -1 : a.id > b.id ? 1 : a.folder - b.folder),
  slow: falling("elapsed"),
  long: falling("total"),
  dear: falling("dollars"),
  tries: falling("tries"),
};

function found(view, picked) {
  const words = view.q.toLowerCase().split(/\s+/).filter(Boolean);
  const states = { all: () => true, done: (job) => !job.error, failed: (job) => job.error, picked: (job) => picked.has(job.key) };
  const list = jobs.filter((job) => states[view.state](job)
    && (!view.type || job.type === view.type)
    && (!view.folder || String(job.folder) === view.folder)
    && (!view.why || (job.error && String(job.error.why) === view.why))
    && words.every((word) => searchText(job).includes(word)));
  return Object.hasOwn(ORDERS, view.order) ? list.sort(ORDERS[view.order]) : list;
}

// The part after # of the address, so that a view can be kept and sent on: #state=failed&q=cat&page=2
const PLAIN = { state: "all", q: "", why: "", folder: "", type: "", order: "", page: 1, job: "" };

function readAddress() {
  const parts = new URLSearchParams(location.hash.slice(1));
  const view = { ...PLAIN };
  for (const name of Object.keys(PLAIN)) {
    if (parts.has(name)) view[name] = parts.get(name);
  }
  view.page = Math.max(1, Number.parseInt(view.page, 10) || 1);
  if (!["all", "done", "failed", "picked"].includes(view.state)) view.state = "all";
  return view;
}

function writeAddress(view) {
  const parts = new URLSearchParams(Object.entries(view).filter(([name, value]) => value !== PLAIN[name]));
  const fragment = parts.toString() && `#${parts}`;
  try {
    history.replaceState(null, "", location.pathname + location.search + fragment);
  } catch {
    // Some browsers refuse this for files: the address then stays as it was.
  }
}

const count = (value) => Math.round(value).toLocaleString("en-US");
const plural = (value, word) => `${count(value)} ${word}${value === 1 ? "" : "s"}`;

// Two or three significant figures: 0.042, 1.5, 320, 12,345.
function amount(value) {
  if (value === 0 || Math.abs(value) >= 100) return count(value);
  return String(Number(value.toFixed(Math.min(6, Math.max(0, 1 - Math.floor(Math.log10(Math.abs(value))))))));
}

// At most two units: 0.54 s, 42 s, 3 min 20 s, 2 h 5 min.
function duration(value) {
  if (value < 10) return `${amount(value)} s`;
  let rest = Math.round(value);
  const parts = [];
  for (const [unit, size] of [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]]) {
    const number = Math.floor(rest / size);
    rest %= size;
    if (number) parts.push(`${number} ${unit}`);
    else if (parts.length) break;
  }
  return parts.slice(0, 2).join(" ");
}

function moment(text) {
  const time = new Date(text);
  if (Number.isNaN(time.getTime())) return null;
  const day = { day: "numeric", month: "short", year: "numeric" };
  const shown = time.toLocaleString("en-GB", { ...day, hour: "2-digit", minute: "2-digit", timeZone: "UTC" });
  return `${shown} UTC`;
}

const dollars = (value) => (value >= 0.1 || value === 0
  ? `$${value.toLocaleString("en-US", { minimumFractionDigits: 2, maximumFractionDigits: 2 })}`
  : `$${amount(value)}`);

function bytes(value) {
  if (value === null) return "size unknown";
  if (value < 1000) return `${value} bytes`;
  if (value < 1e6) return `${(value / 1e3).toFixed(0)} KB`;
  return value < 1e9 ? `${(value / 1e6).toFixed(1)} MB` : `${(value / 1e9).toFixed(1)} GB`;
}
