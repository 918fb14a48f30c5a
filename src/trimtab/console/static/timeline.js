// Panels that share an axis of event time: a rule that moves through all of them by key or pointer, and zoom by dragging.

const PAGE_STEP = 7, LEAST_DRAG = 8;

function begin(section) {
  const stack = section.querySelector(".stack"), slider = section.querySelector("[role=slider]"), link = section.querySelector("#reading-link");
  const moments = JSON.parse(section.querySelector("script.moments").textContent);
  const since = Number(section.dataset.since), until = Number(section.dataset.until);
  if (!moments.length || until <= since) return;
  const rule = stack.appendChild(Object.assign(document.createElement("div"), { className: "rule" }));
  const span = stack.appendChild(Object.assign(document.createElement("div"), { className: "span" }));
  let plot = null, now = moments.length - 1, from = null;

  // where the plots lie: all panels have the same axis
  section.addEventListener("chart-drawn", (event) => {
    const view = event.detail.view, svg = event.target.querySelector("svg");
    const left = svg.getBoundingClientRect().left - stack.getBoundingClientRect().left + view.origin()[0];
    plot = { left, width: view.width() };
    place();
  });
  const x = (at) => plot.left + ((at - since) / (until - since)) * plot.width;
  const time = (pixel) => since + (Math.min(Math.max(pixel - plot.left, 0), plot.width) / plot.width) * (until - since);

  function place() {
    const [at, text, start, version] = moments[now];
    slider.setAttribute("aria-valuenow", now);
    slider.setAttribute("aria-valuetext", text);
    slider.textContent = text;
    link.href = `${section.dataset.window}${encodeURIComponent(start)}?version=${version}`;
    if (!plot) return;
    rule.style.transform = `translateX(${Math.round(x(at))}px)`;
    rule.classList.toggle("shown", at >= since && at <= until);
  }
  function nearest(at) {
    let low = 0, high = moments.length - 1;
    while (low < high) { const middle = (low + high) >> 1; if (moments[middle][0] < at) low = middle + 1; else high = middle; }
    return low > 0 && at - moments[low - 1][0] < moments[low][0] - at ? low - 1 : low;
  }
  const go = (n) => { now = Math.min(moments.length - 1, Math.max(0, n)); place(); };

  slider.addEventListener("keydown", (event) => {
    const steps = { ArrowLeft: now - 1, ArrowDown: now - 1, ArrowRight: now + 1, ArrowUp: now + 1, PageUp: now + PAGE_STEP, PageDown: now - PAGE_STEP, Home: 0, End: moments.length - 1 };
    if (event.key in steps) { event.preventDefault(); go(steps[event.key]); }
    else if (event.key === "Enter") link.click();
  });

  const inside = (event) => plot && event.target.closest(".chart") && !event.target.closest("figcaption, a");
  const pixel = (event) => event.clientX - stack.getBoundingClientRect().left;
  stack.addEventListener("pointermove", (event) => {
    if (!plot) return;
    if (from !== null) {
      const [a, b] = [from, pixel(event)].sort((one, other) => one - other);
      span.style.transform = `translateX(${Math.max(a, plot.left)}px)`;
      span.style.width = `${Math.max(0, Math.min(b, plot.left + plot.width) - Math.max(a, plot.left))}px`;
      span.classList.toggle("shown", b - a >= LEAST_DRAG);
    } else if (inside(event)) go(nearest(time(pixel(event))));
  });
  stack.addEventListener("pointerdown", (event) => {
    if (event.button === 0 && event.pointerType === "mouse" && inside(event)) { from = pixel(event); event.preventDefault(); }
  });
  addEventListener("pointerup", (event) => {
    if (from === null) return;
    const [a, b] = [from, pixel(event)].sort((one, other) => one - other);
    from = null;
    span.classList.remove("shown");
    if (b - a < LEAST_DRAG) { if (inside(event)) link.click(); return; }
    zoom(time(a), time(b));
  });
  addEventListener("keydown", (event) => { if (event.key === "Escape") { from = null; span.classList.remove("shown"); } });

  // the begin of the window that holds a time, so that a zoomed range cuts no window
  function zoom(first, last) {
    const starts = moments.map((each) => each[2]);
    const address = new URL(location.href);
    address.searchParams.set("from", starts[nearest(first)]);
    const after = nearest(last) + 1;
    if (after < starts.length) address.searchParams.set("to", starts[after]); else address.searchParams.delete("to");
    address.searchParams.delete("below");
    location.assign(address);
  }
  place();
}

const observed = new WeakSet();
function find() {
  for (const section of document.querySelectorAll(".timeline")) if (!observed.has(section)) { observed.add(section); begin(section); }
}
find();
new MutationObserver(find).observe(document.getElementById("content"), { childList: true });
