// The head of the page: what the batch came to, its course as charts, and why jobs failed.

const SIZE = { width: 270, height: 130, left: 34, right: 264, top: 8, bottom: 108 }; // the width is that of the screen
const MARKS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400];
const FEWEST = 5; // spans: with fewer, samples a second apart say little

function shape(tag, options, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(options)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

// The smallest of 1, 2, 2.5, 5 and 10 times a power of ten that is not below a value.
function nice(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return power * [1, 2, 2.5, 5, 10].find((factor) => power * factor >= value * (1 - 1e-9));
}

const across = (share) => SIZE.left + share * (SIZE.right - SIZE.left);

// At most four marks of the time axis, at round times.
function timeMarks(span) {
  const days = 86400 * nice(Math.max(1, span / 4 / 86400));
  let step = MARKS.find((one) => span / one < 4) || days;
  if (span < step) step = nice(span / 2);
  return Array.from({ length: Math.floor(span / step) + 1 }, (_, number) => number * step);
}

function chart({ title, headline, lines, say, label = amount }) {
  const { course } = data;
  const values = lines.flatMap(([, list]) => list);
  const peak = Math.max(...values);
  const step = nice(peak > 0 ? peak / 3 : 1 / 3);
  const top = step * Math.max(1, Math.ceil(Number((peak / step).toFixed(6))));
  const up = (value) => SIZE.bottom - (value / top) * (SIZE.bottom - SIZE.top);
  const path = (list) => {
    const middles = list.map((value, place) => [(place + 0.5) / list.length, value]);
    const points = [[0, list[0]], ...middles, [1, list.at(-1)]];
    return `M${points.map(([share, value]) => `${across(share).toFixed(1)} ${up(value).toFixed(1)}`).join("L")}`;
  };
  const upright = (x, name, more = {}) => shape("line", { class: name, x1: x, x2: x, y1: SIZE.top, y2: SIZE.bottom, ...more });
  const levels = Array.from({ length: Math.round(top / step) + 1 }, (_, number) => number * step);
  const cursor = upright(0, "cursor", { visibility: "hidden" });
  const picture = shape("svg", {
    viewBox: `0 0 ${SIZE.width} ${SIZE.height}`, role: "img", tabindex: 0,
    "aria-label": `${title} in ${duration(course.seconds)}: ${headline}; highest ${say(Math.max(...lines[0][1]))}. Left and right arrow read values.`,
  },
    ...levels.flatMap((level) => [
      shape("line", { class: "grid", x1: SIZE.left, x2: SIZE.right, y1: up(level), y2: up(level) }),
      shape("text", { class: "tick", x: SIZE.left - 6, y: up(level) + 3.5, "text-anchor": "end" }, label(level))]),
    ...timeMarks(course.seconds).map((mark) => {
      const x = across(mark / course.seconds);
      const anchor = mark === 0 ? "start" : x > SIZE.right - 12 ? "end" : "middle";
      return shape("text", { class: "tick", x, y: SIZE.bottom + 16, "text-anchor": anchor }, mark ? duration(mark) : "0");
    }),
    ...course.breaks.map((at) => upright(across(at / course.seconds), "break")),
    shape("path", { class: "area", d: `${path(lines[0][1])}L${SIZE.right} ${SIZE.bottom}L${SIZE.left} ${SIZE.bottom}Z` }),
    ...lines.map(([, list], place) => shape("path", { class: place ? "line second" : "line", d: path(list) })).reverse(),
    cursor);
  const value = element("span", { class: "chart-value", role: "status" }, headline);
  listenToChart(picture, cursor, (place) => {
    const texts = lines.map(([name, list]) => (lines.length > 1 ? `${name} ${say(list[place ?? 0])}` : say(list[place ?? 0])));
    const at = duration(((place + 0.5) / lines[0][1].length) * course.seconds);
    value.textContent = place === null ? headline : `${texts.join(", ")} at ${at}`;
  }, lines[0][1].length);
  const legend = lines.map(([name], place) => element("span", { class: place ? "key second" : "key" }, name));
  return element("figure", { class: "chart" },
    element("figcaption", {}, element("span", { class: "chart-title" }, title), " ", value),
    picture, lines.length > 1 ? element("p", { class: "legend" }, ...legend) : null);
}

function listenToChart(picture, cursor, read, spans) {
  let place = null;
  const show = (to) => {
    place = to;
    for (const end of ["x1", "x2"]) cursor.setAttribute(end, across(((place ?? 0) + 0.5) / spans));
    cursor.setAttribute("visibility", place === null ? "hidden" : "visible");
    read(place);
  };
  const within = (number) => Math.min(spans - 1, Math.max(0, number));
  picture.addEventListener("pointermove", (event) => {
    const box = picture.getBoundingClientRect();
    const x = ((event.clientX - box.left) / box.width) * SIZE.width;
    show(within(Math.floor(((x - SIZE.left) / (SIZE.right - SIZE.left)) * spans)));
  });
  picture.addEventListener("keydown", (event) => {
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!by) return;
    event.preventDefault();
    show(within(place === null ? (by > 0 ? 0 : spans - 1) : place + by));
  });
  for (const name of ["pointerleave", "blur"]) picture.addEventListener(name, () => show(null));
}

function charts() {
  const { course } = data;
  if (!course || course.throughput.length < FEWEST) return [];
  const share = course.total_requests ? course.total_shed / course.total_requests : 0;
  const made = [
    { title: "Throughput", headline: `${amount(mean(course.throughput))} jobs/s`, lines: [["jobs/s", course.throughput]], say: (value) => `${amount(value)} jobs/s` },
    {
      title: "Concurrency limit", headline: `${amount(course.limit.at(-1))} at the end`,
      lines: [["limit", course.limit], ["in flight", course.in_flight]], say: amount,
    },
    {
      title: "Shed (429)", headline: `${count(course.total_shed)} of ${count(course.total_requests)} · ${Math.round(share * 100)}%`,
      lines: [["shed/s", course.shed]], say: (value) => `${amount(value)}/s`,
    },
  ];
  if (course.dollars) {
    const sum = course.dollars.at(-1);
    made.push({
      title: "Dollars", headline: `${dollars(sum)} · ${dollars((sum * 3600) / course.seconds)}/h`, lines: [["dollars", course.dollars]],
      say: dollars, label: (value) => (value ? `$${amount(value)}` : "0"),
    });
  }
  return made.map(chart);
}

const mean = (values) => (values.length ? values.reduce((sum, value) => sum + value, 0) / values.length : null);
const known = (name) => jobs.map((job) => job[name]).filter((value) => value !== null);

function facts() {
  const [elapsed, total] = [mean(known("elapsed")), mean(known("total"))];
  return [
    ["Done", count(data.done)],
    ["Failed", count(data.failed), null, data.failed > 0],
    ["Time", data.course && duration(data.course.seconds)],
    ["Mean job", elapsed === null ? null : duration(elapsed), total === null ? null : `of ${duration(total)} with waiting`],
    ["Price", data.dollars === null ? null : dollars(data.dollars)],
  ].filter(([, value]) => value !== null).map(([name, value, more, isBad]) => element("div", { class: isBad ? "bad" : null },
    element("dt", {}, name), element("dd", {}, value, more ? element("small", {}, ` ${more}`) : null)));
}

// Where the jobs ran, and when. An emulator's are told by the service that the journal names.
function drawOrigin() {
  const [first, last] = [moment(data.first), moment(data.last)];
  const services = [...new Set(data.folders.map((folder) => folder.service).filter(Boolean))];
  const real = services.filter((service) => /^https?:/.test(service));
  const shards = data.folders.map((folder) => folder.shard).filter((shard) => shard && shard.startsWith("shard "));
  const folders = data.folders.length > 1 ? plural(data.folders.length, "folder") : null;
  byId("period").textContent = [first && (first === last ? first : `${first} to ${last}`), folders, ...real, shards.join(", ")]
    .filter(Boolean).join(" · ");
  const rest = services.filter((service) => !real.includes(service));
  byId("notice").hidden = rest.length === 0;
  byId("notice").textContent = `Not Prodia's results: ${real.length ? "some of these" : "these"} jobs ran on ${rest.join(", ")}.`;
}

function drawLimits() {
  const { limits } = data;
  byId("limits").hidden = limits.length === 0;
  byId("limits").firstElementChild.textContent = `How the limits moved: the last ${plural(limits.length, "change")}`;
  const head = ["second", "job type", "limit", "in flight", "why"].map((name) => element("th", { scope: "col" }, name));
  const rows = limits.map((change) => [(change.at - limits[0].at).toFixed(2), change.job_type, change.limit, change.in_flight, change.why]);
  byId("limits").querySelector("table").replaceChildren(element("tr", {}, ...head),
    ...rows.map((row) => element("tr", {}, ...row.map((value) => element("td", {}, String(value))))));
}

function drawReasons() {
  const counted = data.reasons.reduce((sum, reason) => sum + reason[2], 0);
  byId("reasons").hidden = data.reasons.length === 0;
  byId("reasons").lastElementChild.replaceChildren(
    ...data.reasons.map(([label, message, number], place) => element("li", {},
      element("button", { type: "button", class: "reason", "data-reason": place, title: "Show these jobs" },
        element("b", {}, count(number)), element("span", { dir: "auto" }, element("i", {}, label), ` ${message}`)))),
    ...(counted < data.failed ? [element("li", { class: "note" }, `${count(data.failed - counted)} more failed for rarer reasons.`)] : []));
}

function drawCharts() {
  byId("charts").replaceChildren(...charts());
  byId("charts").hidden = byId("charts").children.length === 0;
}

function fitCharts() {
  const width = byId("charts").querySelector("svg")?.clientWidth;
  if (!width || width === SIZE.width) return;
  Object.assign(SIZE, { width, right: width - 6 });
  drawCharts();
}

function drawHead() {
  drawOrigin();
  byId("facts").replaceChildren(...facts());
  drawCharts();
  fitCharts();
  window.addEventListener("resize", fitCharts);
  drawLimits();
  drawReasons();
  const hidden = data.done + data.failed - jobs.length;
  byId("only").hidden = hidden === 0;
  byId("only").append(`${count(jobs.length)} jobs are shown here, failed ones first; ${count(hidden)} more stand in `, ...records(), ".");
  byId("records").append(...records());
}

function records() {
  const links = data.folders.map((folder) => element("a", { href: `${folder.url}results.jsonl` }, `${decodeName(folder.url)}results.jsonl`));
  return links.slice(0, 5).flatMap((link, place) => (place ? [", ", link] : [link])).concat(links.length > 5 ? ["…"] : []);
}
