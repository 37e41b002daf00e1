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

const thumbnail = (file) => (
  `${file.base}report/thumbs/${file.url.replace(/^outputs\//, "").replaceAll("../", "__/")}.webp`);
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

const isPicture = (file) => file !== null && file.preview === true;
const GLYPHS = { image: "▦", video: "▶", audio: "♪", text: "¶", file: "⬚" };

function describe(job) {
  return job.prompt || job.type || job.id;
}

// The tile's space is short: the job type that a message begins with stands beside it anyway.
function shortReason(job) {
  const { message } = job.error;
  return job.type && message.startsWith(`${job.type}: `) ? message.slice(job.type.length + 2) : message;
}

function thumb(file, options) {
  return element("img", { src: thumbnail(file), loading: "lazy", decoding: "async", width: 256, height: 256, ...options });
}

function plainTile(file) {
  return element("span", { class: "tile plain-tile" },
    element("span", { class: "glyph", "aria-hidden": "true" }, GLYPHS[kindOf(file)]),
    element("span", { class: "what" }, `${file.media} · ${bytes(file.size)}`));
}

// The browser draws a film's first picture; one that it cannot play is shown as any other file.
function filmTile(file) {
  const film = element("video", { src: `${file.href}#t=0.01`, preload: "metadata", loop: true, playsinline: true, tabindex: -1 });
  film.muted = true;
  const tile = element("span", { class: "tile film" }, film, element("span", { class: "play", "aria-hidden": "true" }, "▶"));
  film.addEventListener("error", () => tile.replaceWith(plainTile(file)), { once: true });
  return tile;
}

function tile(job) {
  const files = job.files;
  const file = files.find(isPicture) || files.find((one) => kindOf(one) === "video") || files.find((one) => one.preview) || files[0];
  if (job.error && !(file && file.preview === true)) {
    return element("span", { class: "tile failure", dir: "auto" }, element("b", {}, job.error.label), shortReason(job));
  }
  if (!file) return element("span", { class: "tile plain-tile" }, element("span", { class: "what" }, "No output"));
  if (isPicture(file)) return element("span", { class: "tile" }, thumb(file, { alt: describe(job) }));
  if (kindOf(file) === "video") return filmTile(file);
  if (file.preview) return element("span", { class: "tile text-tile", dir: "auto" }, file.preview);
  return plainTile(file);
}

function figuresOf(job) {
  const list = [];
  if (job.seed) list.push(`seed ${job.seed.replace(/^"|"$/g, "")}`);
  const times = [job.elapsed, job.total].filter((time) => time !== null).map(duration);
  if (times.length) list.push([...new Set(times)].join(" of "));
  if (job.dollars !== null) list.push(dollars(job.dollars));
  if (job.tries !== 1) list.push(job.tries ? `${job.tries} attempts` : "not sent");
  return list.map((value) => element("span", {}, value));
}

function card(job, isPicked) {
  const file = job.files[0];
  const more = job.files.length + job.more_files - 1;
  const isLink = file && !isActive(file);
  const input = job.inputs.find(isPicture);
  const opener = element(isLink ? "a" : "button", {
    class: "open", "data-place": job.place, "aria-label": `${job.error ? "Failed: " : ""}${describe(job)}`.slice(0, 200),
    ...(isLink ? { href: file.href } : { type: "button" }),
  }, tile(job),
    input ? thumb(input, { class: "inset", alt: "", title: "The input" }) : null,
    more > 0 ? element("span", { class: "badge" }, `${more + 1} files`) : null);
  const pick = element("input", { type: "checkbox", "data-place": job.place, "aria-label": `Pick ${job.id}`.slice(0, 200) });
  pick.checked = isPicked;
  return element("li", { class: `card${job.error ? " failed" : ""}${isPicked ? " picked" : ""}` },
    element("div", { class: "frame" }, opener, element("label", { class: "pick", title: "Pick (x)" }, pick)),
    element("p", { class: "prompt", dir: "auto", title: job.prompt.slice(0, 600) }, job.prompt || job.type),
    element("p", { class: "figures", title: "Time at the service, of the whole with waiting" }, ...figuresOf(job)),
    element("p", { class: "name", dir: "auto" }, job.error ? element("b", { class: "mark" }, "failed") : null, job.id));
}

function pager(page, pages) {
  if (pages < 2) return [];
  const button = (label, to, name) => element("button", {
    type: "button", "data-page": to, "aria-label": name, disabled: to < 1 || to > pages,
    "aria-current": to === page && label === String(page) ? "page" : null,
  }, label);
  const near = [1, page - 1, page, page + 1, pages].filter((number) => number >= 1 && number <= pages);
  const made = [button("←", page - 1, "Previous page")];
  let last = 0;
  for (const number of [...new Set(near)].sort((a, b) => a - b)) {
    if (number > last + 1) made.push(element("span", { class: "gap" }, "…"));
    made.push(button(String(number), number, `Page ${number}`));
    last = number;
  }
  return [...made, button("→", page + 1, "Next page")];
}

function drawSheet(view, list, picked) {
  const pages = Math.max(1, Math.ceil(list.length / PAGE));
  view.page = Math.min(view.page, pages);
  const shown = list.slice((view.page - 1) * PAGE, view.page * PAGE);
  byId("sheet").replaceChildren(...shown.map((job) => card(job, picked.has(job.key))));
  byId("pager").replaceChildren(...pager(view.page, pages));
  byId("empty").hidden = list.length > 0;
  byId("why").hidden = !data.reasons[view.why];
  if (data.reasons[view.why]) byId("why").firstElementChild.textContent = data.reasons[view.why].slice(0, 2).join(": ");
  const some = list.length === jobs.length ? "" : ` of ${count(jobs.length)}`;
  byId("count").textContent = `${count(list.length)}${some} ${jobs.length === 1 ? "job" : "jobs"}`;
}
