// The jobs, which of them are looked for, and the address that says so. No element is touched here.

const PAGE = 60;
const data = JSON.parse(document.getElementById("data").textContent);
const jobs = data.rows.map((values, place) => readJob(values, place));

function named(columns, values) {
  return Object.fromEntries(columns.map((name, place) => [name, values[place]]));
}

function readJob(values, place) {
  const job = named(data.columns, values);
  job.place = place;
  for (const [name, texts] of Object.entries(data.tables)) {
    if (name in job) job[name] = texts[job[name]];
  }
  job.files = job.files.map((file) => {
    const read = named(data.file, file);
    read.media = data.tables.media[read.media];
    return read;
  });
  job.error = job.error && named(data.error, job.error);
  return job;
}

function searchText(job) {
  if (job.search === undefined) {
    const error = job.error ? [job.error.label, job.error.message, job.error.request_id || ""] : [];
    const texts = [job.id, job.prompt, job.type, job.seed || "", job.config, ...error];
    job.search = texts.join("\n").toLowerCase();
  }
  return job.search;
}

const falling = (name) => (a, b) => (b[name] ?? -1) - (a[name] ?? -1) || a.place - b.place;
const ORDERS = {
  id: (a, b) => (a.id < b.id ? -1 : a.id > b.id ? 1 : 0),
  slow: falling("elapsed"),
  dear: falling("dollars"),
  tries: falling("tries"),
};

function found(view) {
  const words = view.q.toLowerCase().split(/\s+/).filter(Boolean);
  const list = jobs.filter((job) => {
    if (view.state === "failed" && !job.error) return false;
    if (view.state === "done" && job.error) return false;
    if (view.type && job.type !== view.type) return false;
    return words.every((word) => searchText(job).includes(word));
  });
  return Object.hasOwn(ORDERS, view.order) ? list.sort(ORDERS[view.order]) : list;
}

// The part after # of the address, so that a view can be kept and sent on: #state=failed&q=cat&page=2
const PLAIN = { state: "all", q: "", type: "", order: "", page: 1, job: "" };

function readAddress() {
  const parts = new URLSearchParams(location.hash.slice(1));
  const view = { ...PLAIN };
  for (const name of Object.keys(PLAIN)) {
    if (parts.has(name)) view[name] = parts.get(name);
  }
  view.page = Math.max(1, Number.parseInt(view.page, 10) || 1);
  if (!["all", "done", "failed"].includes(view.state)) view.state = "all";
  return view;
}

function writeAddress(view) {
  const parts = new URLSearchParams();
  for (const [name, value] of Object.entries(view)) {
    if (value !== PLAIN[name]) parts.set(name, value);
  }
  const fragment = parts.toString() && `#${parts}`;
  try {
    history.replaceState(null, "", location.pathname + location.search + fragment);
  } catch {
    // Some browsers refuse this for files: the address then stays as it was.
  }
}

function seconds(value) {
  if (value >= 3600) return `${Math.floor(value / 3600)} h ${Math.round((value % 3600) / 60)} min`;
  if (value >= 100) return `${Math.floor(value / 60)} min ${Math.round(value % 60)} s`;
  return `${value >= 10 ? value.toFixed(1) : value.toFixed(2)} s`;
}

function dollars(value) {
  return `$${value >= 0.1 || value === 0 ? value.toFixed(2) : String(Number(value.toPrecision(2)))}`;
}

function bytes(value) {
  if (value === null) return "size unknown";
  if (value < 1000) return `${value} bytes`;
  if (value < 1e6) return `${(value / 1e3).toFixed(0)} KB`;
  return value < 1e9 ? `${(value / 1e6).toFixed(1)} MB` : `${(value / 1e9).toFixed(1)} GB`;
}
