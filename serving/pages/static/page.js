// The prediction form: reads the record, sends it to POST /predict?explain=true, and shows the response.
// If the service requires a key, the browser has asked for it before it loaded this page, and sends it again.

const form = document.getElementById("form");
const result = document.getElementById("result");
const problem = document.getElementById("problem");
const status = document.getElementById("status");
const askButton = document.getElementById("ask");
const controls = [...form.querySelectorAll("[name]")];
const threshold = Number(form.dataset.threshold);
const NUMBER = /^[+-]?(\d+\.?\d*|\.\d+)$/;

const VISIBLE = 0.0005; // smaller contributions would be shown as × 1.00 or 0.0 percentage points

const byId = (id) => document.getElementById(id);
const titleOf = (control) => control.labels[0].firstChild.textContent.trim();

function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

// A decimal comma is accepted where a fraction is: in a whole number it would be a separator of thousands.
function readNumber(control, text) {
  const point = control.inputMode === "decimal" ? text.replace(",", ".") : text;
  return NUMBER.test(point) ? Number(point) : text;
}

// Empty fields are left out. Text that is not a number is sent unchanged: the service reports what is allowed.
function readRecord() {
  const record = {};
  for (const control of controls) {
    const text = control.value.trim();
    if (text !== "") record[control.name] = readNumber(control, text);
  }
  return record;
}

function fill(record) {
  form.reset();
  for (const control of controls) control.value = record[control.name] ?? "";
}

function setError(control, text) {
  byId(`${control.id}-error`).textContent = text;
  if (text) control.setAttribute("aria-invalid", "true");
  else control.removeAttribute("aria-invalid");
}

function clearProblems() {
  problem.hidden = true;
  problem.textContent = "";
  for (const control of controls) setError(control, "");
}

function showProblem(text, focused = problem) {
  result.hidden = true;
  status.textContent = "";
  problem.textContent = text;
  problem.hidden = false;
  focused.focus();
}

function showFieldErrors(errors) {
  const bad = [];
  const others = [];
  for (const error of errors) {
    const control = controls.find((one) => `/${one.name}` === error.pointer);
    if (!control) {
      others.push(`${error.pointer} ${error.detail}.`);
      continue;
    }
    setError(control, `${"value" in error ? "Not allowed" : "Missing"}. Allowed: ${error.allowed}.`);
    bad.push(control);
  }
  const fields = bad.length === 1 ? "One field is" : `${bad.length} fields are`;
  const text = bad.length ? `${fields} not valid: ${bad.map(titleOf).join(", ")}.` : "";
  showProblem([text, ...others].join(" ").trim(), bad[0]);
}

// One decimal, and more if they are needed to distinguish the probability from the threshold.
function percent(share) {
  if (share > 0.9995 && share < 1) return "over\u00a099.9\u00a0%";
  if (share > 0 && share < 0.0005) return "under\u00a00.1\u00a0%";
  let text = "";
  for (let digits = 1; digits <= 5; digits += 1) {
    text = (100 * share).toFixed(digits);
    if (share === threshold || text !== (100 * threshold).toFixed(digits)) break;
  }
  return `${text}\u00a0%`;
}

const signed = (number, text) => `${number > 0 ? "+" : number < 0 ? "−" : ""}${text}`;

function factor(logOdds) {
  const odds = Math.exp(logOdds);
  return `×\u00a0${odds >= 100 ? Math.round(odds) : odds < 0.01 ? odds.toPrecision(1) : odds.toFixed(2)}`;
}

function drawProbability(answer) {
  const { probability, has_heart_disease: has } = answer;
  const words = has ? "with disease" : "without disease";
  const limit = `${Number((100 * threshold).toFixed(3))}\u00a0%`;
  byId("probability").textContent = percent(probability);
  byId("probability").dataset.exact = probability;
  byId("verdict").textContent = words;
  byId("verdict").className = has ? "badge yes" : "badge";
  byId("fill").className = has ? "fill yes" : "fill";
  byId("fill").style.width = `${100 * probability}%`;
  byId("mark").style.left = `${100 * threshold}%`;
  byId("mark-label").textContent = `threshold ${limit}`;
  byId("mark-label").style.left = `${100 * threshold}%`;
  byId("mark-label").style.transform = `translateX(${-100 * threshold}%)`;
  byId("picture").setAttribute("aria-label", `A bar from 0 to 100 %, filled to ${percent(probability)}; the threshold is at ${limit}.`);
  byId("meaning").textContent =
    `The model predicts heart disease with a probability of ${percent(probability)}. ` +
    `This ${has ? "reaches" : "is below"} the threshold of ${limit}, so the prediction is: ${words}. ` +
    "The threshold is a convention: it counts a missed disease and a false alarm as equally bad.";
}

function drawImputed(names) {
  const titles = controls.filter((control) => names.includes(control.name)).map(titleOf);
  byId("imputed").hidden = titles.length === 0;
  byId("imputed").textContent =
    `Left empty and imputed by the model with the typical values of its training records: ${titles.join(", ")}.`;
}

function shownValue(control, value) {
  if (control.tagName === "SELECT") return control.querySelector(`option[value="${CSS.escape(value)}"]`)?.label ?? String(value);
  const unit = control.parentElement.querySelector(".unit");
  return unit ? `${value} ${unit.textContent}` : String(value);
}

function contributionRow(control, one, largest, onLogOdds) {
  const size = largest ? (50 * Math.abs(one.contribution)) / largest : 0;
  const bar = make("span", { className: one.contribution > 0 ? "raises" : "lowers" });
  bar.style.width = `${size}%`;
  const points = signed(one.contribution, (100 * Math.abs(one.contribution)).toFixed(1));
  let text = onLogOdds ? factor(one.contribution) : points;
  if (one.standard_error !== undefined) text += ` ± ${(200 * one.standard_error).toFixed(1)}`;
  return make(
    "tr",
    {},
    make("th", { scope: "row" }, make("span", { className: "name", textContent: titleOf(control) }),
      make("span", { className: "soft small", textContent: shownValue(control, one.value) })),
    make("td", {}, make("div", { className: "both", ariaHidden: "true" }, bar)),
    make("td", { className: "number", textContent: text }),
  );
}

// The share is that of the version that the page was loaded with.
function prevalenceOf(model) {
  const share = form.dataset.prevalence;
  return share && model.version === form.dataset.version ? `; ${percent(Number(share))} of its training records have disease` : "";
}

function drawContributions(answer) {
  const found = answer.contributions;
  byId("why").hidden = !found;
  if (!found) return;
  const onLogOdds = found.scale === "log_odds";
  const start = onLogOdds ? 1 / (1 + Math.exp(-found.base)) : found.base;
  const known = Object.entries(found.features)
    .filter(([, one]) => one.value !== null)
    .sort(([, a], [, b]) => Math.abs(b.contribution) - Math.abs(a.contribution));
  const moved = known.filter(([, one]) => Math.abs(one.contribution) >= VISIBLE);
  const same = known.filter(([, one]) => Math.abs(one.contribution) < VISIBLE);
  byId("same").hidden = same.length === 0;
  byId("same").textContent = `Without a contribution, because the value is the typical one or changes nothing: ${same.map(([name]) => titleOf(form.elements[name])).join(", ")}.`;
  const largest = Math.max(0, ...known.map(([, one]) => Math.abs(one.contribution)));
  byId("unit-head").textContent = onLogOdds ? "odds" : "points";
  byId("scale-text").textContent =
    `For a typical record (the median of each measurement, the most frequent code of each category) the model predicts ${percent(start)}` +
    `${prevalenceOf(answer.model)}. ` +
    (onLogOdds
      ? `Each value multiplies the odds of heart disease: ×\u00a02 doubles them, ×\u00a00.5 halves them. Together they give ${percent(answer.probability)}.`
      : `Each value changes this by a number of percentage points, averaged over all orders in which the values can be added. Together they give ${percent(answer.probability)}.`) +
    (found.method === "sampled" ? " These are estimates from a sample of the orders, ± twice the standard error." : "");
  byId("contributions").replaceChildren(
    ...moved.map(([name, one]) => contributionRow(form.elements[name], one, largest, onLogOdds)),
  );
}

function drawModel(model) {
  for (const element of document.querySelectorAll("[data-fact]")) {
    const text = model[element.dataset.fact];
    element.textContent = element.dataset.fact === "family" ? text.replaceAll("_", " ") : (text ?? "not recorded");
  }
  byId("sample").hidden = model.origin !== "sample";
  const changed = byId("changed");
  changed.hidden = model.version === form.dataset.version && model.contract_version === form.dataset.contract;
  // a response has no scores of its model: those on the page are of the version that the page was loaded with
  for (const element of document.querySelectorAll("[data-of-loaded]")) element.hidden = !changed.hidden;
  changed.textContent = `The service serves version ${model.version} since this page was loaded. Reload the page for the form and the threshold of that version.`;
}

function showAnswer(answer) {
  drawProbability(answer);
  drawImputed(answer.imputed);
  drawContributions(answer);
  drawModel(answer.model);
  byId("prediction-id").textContent = answer.prediction_id;
  result.hidden = false;
  status.textContent = byId("meaning").textContent;
  byId("result-title").focus({ preventScroll: true });
  result.scrollIntoView({ block: "start" });
}

async function post(path, record) {
  const headers = { "Content-Type": "application/json" };
  const response = await fetch(path, { method: "POST", headers, body: JSON.stringify(record) });
  return [response.status, await response.json()];
}

async function ask() {
  const record = readRecord();
  let [code, body] = await post("predict?explain=true", record);
  if (code === 409) [code, body] = await post("predict", record);
  clearProblems();
  if (code === 200) {
    showAnswer(body);
  } else if (code === 422 && body.errors) {
    showFieldErrors(body.errors);
  } else {
    showProblem(`${body.title}: ${body.detail}. Hint: ${body.hint}.`);
  }
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  if (askButton.getAttribute("aria-disabled") === "true") return;
  askButton.setAttribute("aria-disabled", "true");
  status.textContent = "Waiting for the prediction …";
  try {
    await ask();
  } catch {
    clearProblems();
    showProblem("The service is unreachable, or its response cannot be read. Check that it runs, and try again.");
  } finally {
    askButton.removeAttribute("aria-disabled");
  }
});

form.addEventListener("reset", () => {
  clearProblems();
  result.hidden = true;
  status.textContent = "";
});

for (const button of form.querySelectorAll("button")) button.disabled = false;
for (const button of form.querySelectorAll("[data-record]")) {
  button.addEventListener("click", () => {
    fill(JSON.parse(button.dataset.record));
    status.textContent = `Filled in: ${button.textContent}`;
  });
}
