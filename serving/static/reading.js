"use strict";

// How an image was read: its steps, and the digits of a number with their boxes.

function drawPixels(canvas, pixels) {
  const image = new ImageData(pixels[0].length, pixels.length);
  pixels.flat().forEach((grey, index) => image.data.set([grey, grey, grey, 255], 4 * index));
  canvas.getContext("2d").putImageData(image, 0, 0);
}

function made(kind, properties, ...children) {
  const node = Object.assign(document.createElement(kind), properties);
  node.append(...children);
  return node;
}

function showSteps(steps) {
  document.getElementById("steps").hidden = steps.length === 0;
  document.getElementById("step-list").replaceChildren(
    ...steps.map(({ name, description, image }) =>
      made("li", {}, made("figure", {},
        made("img", { src: image, alt: "", className: name }),
        made("figcaption", {}, made("strong", { textContent: name }), `: ${description}`)))),
  );
}

/** List the digits of a number; a single digit has bars instead. */
function showDigits(digits) {
  document.getElementById("digits").hidden = digits.length === 0;
  document.getElementById("digits").replaceChildren(
    ...digits.map(({ class_name: name, probabilities, label, input }) => {
      const canvas = made("canvas", { width: input.length, height: input.length });
      canvas.setAttribute("aria-hidden", "true");
      drawPixels(canvas, input);
      const share = made("span", { className: "share", textContent: percent(probabilities[label]) });
      return made("li", {}, canvas, made("span", { className: "name", textContent: name }), share);
    }),
  );
}

/** Draw the box of each digit over the image, which lies on the pad at `place`: x, y and scale, in pixels of the pad. */
function showBoxes(digits, place, pad) {
  document.getElementById("boxes").replaceChildren(
    ...digits.map(({ box }) => {
      const node = made("span", {});
      node.style.left = `${(100 * (place.x + box.x * place.scale)) / pad.width}%`;
      node.style.top = `${(100 * (place.y + box.y * place.scale)) / pad.height}%`;
      node.style.width = `${(100 * box.width * place.scale) / pad.width}%`;
      node.style.height = `${(100 * box.height * place.scale) / pad.height}%`;
      return node;
    }),
  );
}
