// Sliders of the chapters: each range input names a state; the picture of that state is shown, the others are hidden.
(() => {
  "use strict";
  const setUp = (slider) => {
    const inputs = [...slider.querySelectorAll("input[type=range]")];
    const pictures = [...slider.querySelectorAll("img[data-state]")];
    const update = () => {
      for (const input of inputs) {
        const name = input.dataset.names.split("|")[Number(input.value)];
        input.setAttribute("aria-valuetext", name);
        input.parentElement.querySelector("output").textContent = name;
      }
      const state = inputs.map((input) => input.value).join("-");
      for (const picture of pictures) picture.hidden = picture.dataset.state !== state;
    };
    for (const input of inputs) input.addEventListener("input", update);
    update();
  };
  const start = () => document.querySelectorAll(".vislab-slider").forEach(setUp);
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
  else start();
})();
