// What the reader does, and what follows.

let view = readAddress();
let list = [];
const calm = matchMedia("(prefers-reduced-motion: reduce)");

function draw() {
  list = found(view, picked);
  drawSheet(view, list, picked);
  drawPicks(list);
  writeAddress(view);
}

function fillFilters() {
  byId("q").value = view.q;
  for (const radio of document.getElementsByName("state")) radio.checked = radio.value === view.state;
  for (const name of ["folder", "type", "order"]) byId(name).value = view[name];
}

function makeChoices() {
  const fill = (name, all) => {
    byId(name).replaceChildren(...all.map(([value, text]) => element("option", { value }, text)));
    byId(name).parentElement.hidden = all.length < 2;
  };
  const types = [...new Set(jobs.map((job) => job.type).filter(Boolean))].sort();
  fill("type", types.length > 1 ? [["", "All types"], ...types.map((type) => [type, type])] : []);
  fill("folder", data.folders.length > 1 ? [["", "All folders"], ...data.folders.map((folder, place) => [place, folder.name])] : []);
  fill("order", [
    ...(data.failed ? [["", "Failed first"], ["id", "By id"]] : [["", "By id"]]),
    ["slow", "Slowest at the service"], ["long", "Longest in all"], ...(data.dollars === null ? [] : [["dear", "Dearest first"]]), ["tries", "Most attempts first"],
  ]);
  byId("again-types").replaceChildren(...types.map((value) => element("option", { value })));
}

function change(changes) {
  Object.assign(view, { page: 1, job: "" }, changes);
  draw();
}

function pick(job, isPicked = !picked.has(job.key)) {
  if (isPicked) picked.add(job.key);
  else picked.delete(job.key);
  keepPicks();
  for (const box of document.querySelectorAll(`.card input[data-place="${job.place}"]`)) {
    box.checked = isPicked;
    box.closest(".card").classList.toggle("picked", isPicked);
  }
  byId("viewer-pick").checked = isPicked;
  drawPicks(list);
}

function openJob(job) {
  view.job = data.folders.length > 1 ? job.key : job.id;
  writeAddress(view);
  showJob(job, list, picked);
  viewer.dataset.place = job.place;
}

function step(by) {
  const place = list.indexOf(jobs[viewer.dataset.place]) + by;
  if (place < 0 || place >= list.length) return;
  const page = Math.floor(place / PAGE) + 1;
  if (page !== view.page) {
    view.page = page;
    drawSheet(view, list, picked);
  }
  openJob(list[place]);
}

function toPage(page) {
  view.page = page;
  draw();
  byId("filters").scrollIntoView();
  byId("sheet").focus({ preventScroll: true });
}

function listenToFilters() {
  let timer = 0;
  byId("filters").addEventListener("submit", (event) => event.preventDefault());
  byId("q").addEventListener("input", (event) => {
    clearTimeout(timer);
    timer = setTimeout(() => change({ q: event.target.value.trim() }), 120);
  });
  for (const radio of document.getElementsByName("state")) {
    radio.addEventListener("change", () => change({ state: radio.value, why: "" }));
  }
  for (const name of ["folder", "type", "order"]) {
    byId(name).addEventListener("change", (event) => change({ [name]: event.target.value }));
  }
  byId("clear").addEventListener("click", () => { view = { ...PLAIN }; fillFilters(); draw(); });
  byId("any").addEventListener("click", () => change({ why: "" }));
  byId("pager").addEventListener("click", (event) => {
    const button = event.target.closest("button[data-page]");
    if (button) toPage(Number(button.dataset.page));
  });
  byId("reasons").addEventListener("click", (event) => {
    const button = event.target.closest(".reason");
    if (!button) return;
    view = { ...PLAIN };
    change({ state: "failed", why: button.dataset.reason });
    fillFilters();
    byId("filters").scrollIntoView();
  });
}

let anchor = null; // where a range of picks begins

function listenToSheet() {
  const sheet = byId("sheet");
  sheet.addEventListener("click", (event) => {
    const opener = event.target.closest(".open");
    if (opener && !(event.ctrlKey || event.metaKey || event.shiftKey)) {
      event.preventDefault();
      openJob(jobs[opener.dataset.place]);
    }
    const box = event.target.closest("input[data-place]");
    if (!box) return;
    const job = jobs[box.dataset.place];
    const [from, to] = [list.indexOf(event.shiftKey ? anchor ?? job : job), list.indexOf(job)];
    const range = from < 0 ? [job] : list.slice(Math.min(from, to), Math.max(from, to) + 1);
    for (const one of range) pick(one, box.checked);
    anchor = job;
  });
  for (const [name, isOver] of [["pointerover", true], ["focusin", true], ["pointerout", false], ["focusout", false]]) {
    sheet.addEventListener(name, (event) => {
      const film = event.target.closest(".open")?.querySelector("video");
      if (!film || calm.matches) return;
      if (isOver) film.play().catch(() => {});
      else if (!film.closest(".open").contains(event.relatedTarget)) film.pause();
    });
  }
}

// How far an arrow key goes: a row is as many cards as stand beside the first.
function stride(key, cards) {
  const inRow = cards.filter((card) => card.offsetTop === cards[0].offsetTop).length;
  return { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -inRow, ArrowDown: inRow }[key];
}

function listenToKeys() {
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
    if (event.target.matches("select, textarea, input:not([type=checkbox])")) return;
    if (event.key === "/") {
      event.preventDefault();
      byId("q").focus();
    }
    const card = event.target.closest(".card");
    if (!card) return;
    const cards = [...byId("sheet").children];
    const by = stride(event.key, cards);
    const next = by && cards[cards.indexOf(card) + by];
    if (next) {
      event.preventDefault();
      next.querySelector(".open").focus();
    }
    if (event.key === "x") pick(jobs[card.querySelector(".open").dataset.place]);
  });
  viewer.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "x") pick(jobs[viewer.dataset.place]);
    if (event.target.closest("video, audio, input[type=range]")) return;
    if (event.key === "ArrowLeft") step(-1);
    if (event.key === "ArrowRight") step(1);
  });
}

function listenToViewer() {
  byId("previous").addEventListener("click", () => step(-1));
  byId("next").addEventListener("click", () => step(1));
  byId("close").addEventListener("click", () => viewer.close());
  byId("viewer-pick").addEventListener("change", (event) => pick(jobs[viewer.dataset.place], event.target.checked));
  for (const dialog of [viewer, byId("again")]) {
    dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
  }
  viewer.addEventListener("close", () => {
    byId("viewer-files").replaceChildren();
    view.job = "";
    writeAddress(view);
    byId("sheet").querySelector(`.open[data-place="${viewer.dataset.place}"]`)?.focus();
  });
}

function listenToPicks() {
  byId("pick-all").addEventListener("click", () => { for (const job of list) picked.add(job.key); keepPicks(); draw(); });
  byId("unpick").addEventListener("click", () => { picked.clear(); keepPicks(); draw(); });
  byId("copy-ids").addEventListener("click", (event) => copy(pickedJobs().map((job) => `${job.id}\n`).join(""), event.target));
  byId("run-again").addEventListener("click", () => { drawAgain(); byId("again").showModal(); });
  for (const name of ["type", "config", "seed"]) byId(`again-${name}`).addEventListener("input", drawAgain);
  byId("copy-command").addEventListener("click", (event) => copy(byId("again-command").textContent, event.target));
  byId("again-close").addEventListener("click", () => byId("again").close());
}

function follow() {
  view = readAddress();
  fillFilters();
  list = found(view, picked);
  drawSheet(view, list, picked);
  drawPicks(list);
  const job = view.job && jobs.find((one) => one.id === view.job || one.key === view.job);
  if (job) openJob(job);
}

drawHead();
makeChoices();
listenToFilters();
listenToSheet();
listenToKeys();
listenToViewer();
listenToPicks();
window.addEventListener("hashchange", follow);
follow();
