// Starts ReDoc. It is a file, not a line in the page, because the policy allows no inline script.
"use strict";

// ReDoc brings style elements of its own, some as soon as it is loaded and before its `nonce` option
// is read. This script runs first, and gives the page's nonce to each as it is made.
const { nonce } = document.currentScript;
const createElement = document.createElement;
document.createElement = function (...args) {
  const element = createElement.apply(this, args);
  if (element instanceof HTMLStyleElement) element.nonce = nonce;
  return element;
};

document.addEventListener("DOMContentLoaded", () => {
  const place = document.getElementById("redoc");
  const font = "system-ui, sans-serif"; // the default fonts would have to come from another host
  Redoc.init(
    new URL(place.dataset.openapi, document.baseURI).href,
    { theme: { typography: { fontFamily: font, headings: { fontFamily: font } } } },
    place,
  );
});
