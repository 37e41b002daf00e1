// One job at full size: its outputs beside its inputs, and all that is known of it.

const viewer = byId("viewer");
let isBeside = null; // what the reader has chosen: side by side, or one over the other

function picture(file, alt) {
  const made = element("img", { src: file.href, alt });
  if (file.preview === true) made.addEventListener("error", () => { made.src = thumbnail(file); }, { once: true });
  return made;
}

function player(job, file) {
  const kind = kindOf(file);
  if (kind === "image" && (isPicture(file) || /^image\/(avif|svg\+xml)$/.test(file.media))) return picture(file, describe(job));
  if (kind === "video") return element("video", { src: file.href, controls: true, preload: "metadata", loop: true });
  if (kind === "audio") return element("audio", { src: file.href, controls: true, preload: "none" });
  return typeof file.preview === "string" ? element("pre", { dir: "auto", tabindex: 0 }, file.preview) : null;
}

function caption(file, kind) {
  const link = isActive(file)
    ? element("span", { dir: "auto", title: "Not linked: opened as a page, it could run scripts" }, fileName(file))
    : element("a", { href: file.href, target: "_blank", rel: "noopener", dir: "auto" }, fileName(file));
  const size = file.size === null && kind ? "" : ` · ${bytes(file.size)}`;
  return element("figcaption", {}, element("span", {}, kind ? `${kind}: ` : "", link), element("span", {}, `${file.media}${size}`));
}

// An input under its output, with a line between the two that can be moved: by mouse, finger and arrow keys.
function slider(before, after) {
  const line = element("input", { type: "range", min: 0, max: 100, value: 50, step: 1, "aria-label": "How much of the input is seen, in percent" });
  const stage = element("div", { class: "stage" }, after, before, element("span", { class: "line", "aria-hidden": "true" }), line);
  const draw = () => stage.style.setProperty("--cut", `${line.value}%`);
  line.addEventListener("input", draw);
  draw();
  return stage;
}

const ratio = (image) => image.naturalWidth / image.naturalHeight;

function compare(job, input, output) {
  const [before, after] = [picture(input, "The input"), picture(output, describe(job))];
  const stage = slider(before, after);
  const button = element("button", { type: "button", class: "plain" });
  const show = (beside) => {
    stage.classList.toggle("beside", beside);
    button.textContent = beside ? "One over the other" : "Side by side";
  };
  button.addEventListener("click", () => { isBeside = !stage.classList.contains("beside"); show(isBeside); });
  const judge = () => {
    if (!(before.naturalWidth && after.naturalWidth)) return;
    stage.style.setProperty("--ratio", ratio(after));
    show(isBeside ?? Math.abs(ratio(before) / ratio(after) - 1) > 0.03);
  };
  for (const image of [before, after]) image.addEventListener("load", judge);
  show(isBeside ?? true);
  return element("figure", { class: "compare" }, stage, element("p", { class: "modes" }, button),
    caption(input, "Input"), caption(output, "Output"));
}

function filesOf(job) {
  const output = job.files.find(isPicture);
  const inputs = job.inputs.filter((file) => file !== null);
  const figure = (file, kind) => element("figure", {}, player(job, file), caption(file, kind));
  const more = job.more_files
    ? [element("p", { class: "note" }, `${plural(job.more_files, "more output")} in results.jsonl.`)] : [];
  if (inputs.length === 1 && isPicture(inputs[0]) && output) {
    const others = job.files.filter((file) => file !== output);
    return [compare(job, inputs[0], output), ...others.map((file) => figure(file, "")), ...more];
  }
  return [...inputs.map((file) => figure(file, "Input")), ...job.files.map((file) => figure(file, inputs.length ? "Output" : "")), ...more];
}

function fact(name, value, options = {}) {
  if (value === null || value === "") return [];
  return [element("dt", {}, name), element("dd", { dir: "auto", ...options }, value)];
}

function reason(error) {
  const billed = error.may_have_run ? "The job may have run, and been billed." : "The job did not run: it was not billed.";
  return element("div", { class: "why" },
    element("b", {}, error.label), element("p", { dir: "auto" }, error.message),
    error.may_have_run === null ? null : element("p", {}, billed));
}

function readable(config) {
  try {
    return JSON.stringify(JSON.parse(config), null, 1).replace(/^\{\n|\n\}$/g, "").replace(/^ /gm, "");
  } catch {
    return config;
  }
}

const isCut = (job) => job.length > [...job.prompt].length;

function factsOf(job) {
  const facts = element("dl", {},
    ...fact("Prompt", job.prompt, { class: "long" }),
    ...(isCut(job) ? fact("Length", `${plural(job.length, "character")}; the whole stands in results.jsonl`) : []),
    ...fact("Seed", job.seed.replace(/^"|"$/g, "")),
    ...fact("Type", job.type),
    ...fact("Folder", data.folders.length > 1 ? data.folders[job.folder].name : null),
    ...fact("Elapsed", job.elapsed === null ? null : `${duration(job.elapsed)} at the service`),
    ...fact("Total", job.total === null ? null : `${duration(job.total)}, waiting included`),
    ...fact("Price", job.dollars === null ? null : dollars(job.dollars)),
    ...fact("Attempts", `${job.tries}${job.course ? `: ${job.course}` : ""}`),
    ...fact("Request id", job.error ? job.error.request_id : null),
    ...fact("Config", readable(job.config), { class: "config" }),
    ...fact("Request", readable(job.request), { class: "config" }));
  return job.error ? [reason(job.error), facts] : [facts];
}

function showJob(job, list, picked) {
  const place = list.indexOf(job);
  const files = filesOf(job);
  byId("viewer-title").textContent = job.id;
  byId("viewer-pick").checked = picked.has(job.key);
  byId("viewer-files").replaceChildren(...files);
  byId("viewer-files").hidden = files.length === 0;
  byId("viewer-facts").replaceChildren(...factsOf(job));
  byId("previous").disabled = place <= 0;
  byId("next").disabled = place < 0 || place === list.length - 1;
  if (!viewer.open) viewer.showModal();
  byId("viewer-files").scrollTop = byId("viewer-facts").scrollTop = 0;
}
