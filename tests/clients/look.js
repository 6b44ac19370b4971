// What is wrong with a page as it is laid out: a list of findings, empty where all is well.
(() => {
  const found = [];
  const root = document.documentElement;
  if (root.scrollWidth > root.clientWidth) found.push(`the page is ${root.scrollWidth} wide of ${root.clientWidth}`);
  const name = (e) => `${e.tagName} ${e.getAttribute("class") || ""} "${(e.textContent || "").trim().slice(0, 30)}"`;

  // Nothing sticks out of the page, and no text out of its figure. What scrolls by itself may be wider.
  for (const e of document.body.querySelectorAll("*")) {
    if (e.closest(".table")) continue;
    const box = e.getBoundingClientRect();
    if (box.width === 0) continue;
    if (box.right > root.clientWidth + 1 || box.left < -1) found.push(`sticks out: ${name(e)}`);
    const svg = e.tagName === "text" && e.ownerSVGElement;
    if (!svg) continue;
    const frame = svg.getBoundingClientRect();
    const out = box.right > frame.right + 1 || box.left < frame.left - 1 || box.bottom > frame.bottom + 1 || box.top < frame.top - 1;
    if (out) found.push(`text out of its figure: ${name(e)}`);
  }

  // Contrast of text, by WCAG 2: at least 4.5.
  const parse = (colour) => {
    const v = (colour.match(/[\d.]+/g) || []).map(Number);
    return { rgb: v.slice(0, 3), alpha: v.length > 3 ? v[3] : 1 };
  };
  const mix = (over, under, alpha) => over.map((v, i) => alpha * v + (1 - alpha) * under[i]);
  const luminance = (rgb) => {
    const [r, g, b] = rgb.map((v) => (v / 255 <= 0.04045 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (e) => {
    for (let at = e; at; at = at.parentElement) {
      const { rgb, alpha } = parse(getComputedStyle(at).backgroundColor);
      if (alpha === 1) return rgb;
    }
    return [255, 255, 255];
  };
  for (const e of document.body.querySelectorAll("*")) {
    const own = [...e.childNodes].some((n) => n.nodeType === Node.TEXT_NODE && n.textContent.trim());
    if (!own || e.getBoundingClientRect().width === 0) continue;
    const style = getComputedStyle(e);
    const inSvg = e.ownerSVGElement;
    const ink = parse(inSvg ? style.fill : style.color).rgb;
    let paper = ground(inSvg ? inSvg.parentElement : e);
    const cell = e.previousElementSibling;
    if (e.classList.contains("cell") && cell && cell.tagName === "rect") {
      const s = getComputedStyle(cell);
      paper = mix(parse(s.fill).rgb, paper, Number(s.fillOpacity));
    }
    const [high, low] = [luminance(ink), luminance(paper)].sort((a, b) => b - a);
    const contrast = (high + 0.05) / (low + 0.05);
    if (contrast < 4.5) found.push(`contrast ${contrast.toFixed(2)}: ${name(e)}`);
  }

  for (const image of document.images) {
    if (!image.complete || image.naturalWidth === 0) found.push("an image is not shown");
    if (!image.alt) found.push("an image without words");
  }
  return found;
})();
