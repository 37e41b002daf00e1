// One job at full size: its outputs, and all that is known of it.

const viewer = byId("viewer");

function player(job, file) {
  const kind = kindOf(file);
  if (kind === "image" && (file.preview === true || /^image\/(avif|svg\+xml)$/.test(file.media))) {
    const picture = element("img", { src: file.url, alt: describe(job) });
    if (file.preview === true) picture.addEventListener("error", () => { picture.src = thumbnail(file); }, { once: true });
    return picture;
  }
  if (kind === "video") return element("video", { src: file.url, controls: true, preload: "none" });
  if (kind === "audio") return element("audio", { src: file.url, controls: true, preload: "none" });
  return typeof file.preview === "string" ? element("pre", { dir: "auto" }, file.preview) : null;
}

function output(job, file) {
  const link = isActive(file)
    ? element("span", { dir: "auto", title: "Not linked: opened as a page, it could run scripts" }, decodeName(file.url))
    : element("a", { href: file.url, target: "_blank", rel: "noopener", dir: "auto" }, fileName(file));
  return element("figure", {}, player(job, file),
    element("figcaption", {}, link, element("span", {}, `${file.media} · ${bytes(file.size)}`)));
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

function attempts(job) {
  return `${job.tries}${job.course ? `: ${job.course}` : ""}`;
}

function readable(config) {
  try {
    return JSON.stringify(JSON.parse(config), null, 1).replace(/^\{\n|\n\}$/g, "").replace(/^ /gm, "");
  } catch {
    return config;
  }
}

function factsOf(job) {
  const isCut = job.length > [...job.prompt].length;
  const facts = element("dl", {},
    ...fact("Prompt", job.prompt, { class: "long" }),
    ...(isCut ? fact("Length", `${job.length.toLocaleString("en-US")} characters; the whole stands in results.jsonl`) : []),
    ...fact("Seed", job.seed),
    ...fact("Type", job.type),
    ...fact("Elapsed", job.elapsed === null ? null : `${seconds(job.elapsed)} at the service`),
    ...fact("Total", job.total === null ? null : `${seconds(job.total)}, waiting included`),
    ...fact("Price", job.dollars === null ? null : dollars(job.dollars)),
    ...fact("Attempts", attempts(job)),
    ...fact("Request id", job.error ? job.error.request_id : null),
    ...fact("Config", readable(job.config), { class: "config" }));
  return job.error ? [reason(job.error), facts] : [facts];
}

function more(job) {
  if (!job.more_files) return [];
  return [element("p", { class: "note" }, `${job.more_files} more outputs are listed in results.jsonl.`)];
}

function showJob(job, list) {
  const place = list.indexOf(job);
  byId("viewer-title").textContent = job.id;
  byId("viewer-files").replaceChildren(...job.files.map((file) => output(job, file)), ...more(job));
  byId("viewer-files").hidden = job.files.length + job.more_files === 0;
  byId("viewer-facts").replaceChildren(...factsOf(job));
  byId("previous").disabled = place <= 0;
  byId("next").disabled = place < 0 || place === list.length - 1;
  if (!viewer.open) viewer.showModal();
  byId("viewer-facts").scrollTop = 0;
}
