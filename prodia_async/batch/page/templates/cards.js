// The sheet: a page of cards, and the pages. Texts go in as text, never as HTML.

const byId = (id) => document.getElementById(id);

function element(tag, options, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(options)) {
    if (value === true) made.setAttribute(name, "");
    else if (value !== false && value !== null) made.setAttribute(name, value);
  }
  made.append(...children.filter((child) => child !== null));
  return made;
}

const thumbnail = (file) => `report/thumbs/${file.url.replace(/^outputs\//, "")}.webp`;
const fileName = (file) => decodeName(file.url.split("/").pop());

function decodeName(name) {
  try {
    return decodeURIComponent(name);
  } catch {
    return name;
  }
}

function kindOf(file) {
  const family = file.media.split("/")[0];
  return ["image", "video", "audio", "text"].includes(family) ? family : "file";
}

// Files that could run scripts when they are opened as pages: these are named, not linked.
function isActive(file) {
  const kind = /^(text\/html|(text|application)\/xml|.*\+xml|multipart\/related)$/.test(file.media);
  return kind || /\.(x?html?|xht|svgz?|xml|xslt?|mht|mhtml)$/i.test(fileName(file));
}

const GLYPHS = { image: "▦", video: "▶", audio: "♪", text: "¶", file: "⬚" };

function describe(job) {
  return job.prompt || job.type || job.id;
}

// The tile's space is short: the job that a message begins with stands beside it anyway.
function shortReason(job) {
  const colon = job.error.message.indexOf(": ");
  const isNamed = job.type && job.error.message.startsWith(job.type) && colon > 0;
  return isNamed ? job.error.message.slice(colon + 2) : job.error.message;
}

function tile(job) {
  const file = job.files.find((one) => one.preview === true) || job.files.find((one) => one.preview) || job.files[0];
  if (job.error && !(file && file.preview === true)) {
    return element("span", { class: "tile failure", dir: "auto" }, element("b", {}, job.error.label), shortReason(job));
  }
  if (!file) return element("span", { class: "tile plain-tile" }, element("span", { class: "what" }, "No output"));
  if (file.preview === true) {
    const picture = element("img", {
      src: thumbnail(file), alt: describe(job), loading: "lazy", decoding: "async", width: 256, height: 256,
    });
    return element("span", { class: "tile" }, picture);
  }
  if (file.preview) return element("span", { class: "tile text-tile", dir: "auto" }, file.preview);
  return element("span", { class: "tile plain-tile" },
    element("span", { class: "glyph", "aria-hidden": "true" }, GLYPHS[kindOf(file)]),
    element("span", { class: "what" }, `${file.media} · ${bytes(file.size)}`));
}

function figuresOf(job) {
  const list = [];
  if (job.seed !== null) list.push(["seed", job.seed]);
  if (job.elapsed !== null) list.push(["", seconds(job.elapsed)]);
  if (job.dollars !== null) list.push(["", dollars(job.dollars)]);
  if (job.tries !== 1) list.push(["", job.tries ? `${job.tries} attempts` : "not sent"]);
  return list.map(([name, value]) => element("span", {}, name ? `${name} ${value}` : value));
}

function card(job) {
  const file = job.files[0];
  const extra = job.files.length + job.more_files - 1;
  const isLink = file && !isActive(file);
  const opener = element(isLink ? "a" : "button", {
    class: "open", "data-place": job.place, "aria-label": `${job.error ? "Failed: " : ""}${describe(job)}`.slice(0, 200),
    ...(isLink ? { href: file.url } : { type: "button" }),
  }, tile(job), extra > 0 ? element("span", { class: "badge" }, `${extra + 1} files`) : null);
  return element("li", { class: job.error ? "card failed" : "card" }, opener,
    element("p", { class: "prompt", dir: "auto", title: job.prompt.slice(0, 600) }, job.prompt || job.type),
    element("p", { class: "figures" }, ...figuresOf(job)),
    element("p", { class: "name", dir: "auto" }, job.error ? element("b", { class: "mark" }, "failed") : null, job.id));
}

function pageNumbers(page, pages) {
  const near = [1, page - 1, page, page + 1, pages].filter((number) => number >= 1 && number <= pages);
  return [...new Set(near)].sort((a, b) => a - b);
}

function pager(page, pages) {
  if (pages < 2) return [];
  const button = (label, to, name) => element("button", {
    type: "button", "data-page": to, "aria-label": name, disabled: to < 1 || to > pages,
    "aria-current": to === page && label === String(page) ? "page" : null,
  }, label);
  const made = [button("←", page - 1, "Previous page")];
  let last = 0;
  for (const number of pageNumbers(page, pages)) {
    if (number > last + 1) made.push(element("span", { class: "gap" }, "…"));
    made.push(button(String(number), number, `Page ${number}`));
    last = number;
  }
  return [...made, button("→", page + 1, "Next page")];
}

function drawSheet(view, list) {
  const pages = Math.max(1, Math.ceil(list.length / PAGE));
  view.page = Math.min(view.page, pages);
  const shown = list.slice((view.page - 1) * PAGE, view.page * PAGE);
  byId("sheet").replaceChildren(...shown.map(card));
  byId("pager").replaceChildren(...pager(view.page, pages));
  byId("empty").hidden = list.length > 0;
  const number = (value) => value.toLocaleString("en-US");
  const some = list.length === jobs.length ? "" : ` of ${number(jobs.length)}`;
  byId("count").textContent = `${number(list.length)}${some} ${jobs.length === 1 ? "job" : "jobs"}`;
}
