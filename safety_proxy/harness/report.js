"use strict";
// Lists of cases: searched by words, chosen by chips, folded and unfolded. Without this script all of them are shown.

for (const list of document.querySelectorAll(".cases")) {
  const toolbar = list.querySelector(".toolbar");
  if (!toolbar) continue;
  const search = toolbar.querySelector("input");
  const told = toolbar.querySelector("output");
  const none = list.querySelector(".none");
  const chips = [...toolbar.querySelectorAll(".chip")];
  const cases = [...list.querySelectorAll(".case")].map((card) => ({ card, keys: card.dataset.keys.split(" "), words: null }));

  const show = () => {
    const wanted = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const keys = chips.filter((chip) => chip.getAttribute("aria-pressed") === "true").map((chip) => chip.dataset.key);
    let shown = 0;
    for (const each of cases) {
      if (wanted.length && each.words === null) each.words = each.card.textContent.toLowerCase();
      const fits = keys.every((key) => each.keys.includes(key)) && wanted.every((word) => each.words.includes(word));
      each.card.hidden = !fits;
      shown += fits ? 1 : 0;
    }
    told.value = `${shown.toLocaleString("en")} of ${cases.length.toLocaleString("en")}`;
    none.hidden = shown > 0;
  };

  let waiting = 0;
  search.addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(show, cases.length > 200 ? 150 : 0);
  });
  search.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && search.value) {
      event.preventDefault();
      search.value = "";
      show();
    }
  });
  for (const chip of chips) {
    chip.addEventListener("click", () => {
      chip.setAttribute("aria-pressed", chip.getAttribute("aria-pressed") === "true" ? "false" : "true");
      show();
    });
  }
  for (const button of toolbar.querySelectorAll("[data-unfold]")) {
    button.addEventListener("click", () => {
      for (const { card } of cases) if (!card.hidden) card.open = button.dataset.unfold === "yes";
    });
  }
  toolbar.hidden = false;
  if (search.value) show(); // a browser may restore what was typed before a reload
}

// "/" goes to the search of the list that is nearest to what is seen.
document.addEventListener("keydown", (event) => {
  if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input")) return;
  const inputs = [...document.querySelectorAll(".toolbar input")];
  const distance = (input) => Math.abs(input.getBoundingClientRect().top);
  const nearest = inputs.sort((one, other) => distance(one) - distance(other))[0];
  if (nearest) {
    event.preventDefault();
    nearest.focus();
  }
});

// An address that names a case unfolds it.
const unfold = () => {
  const named = location.hash.length > 1 ? document.getElementById(location.hash.slice(1)) : null;
  if (named instanceof HTMLDetailsElement) {
    named.hidden = false;
    named.open = true;
    named.scrollIntoView();
  }
};
addEventListener("hashchange", unfold);
unfold();

// On paper nothing can be unfolded.
let folded = [];
addEventListener("beforeprint", () => {
  folded = [...document.querySelectorAll(".case:not([open], [hidden])")];
  for (const card of folded) card.open = true;
});
addEventListener("afterprint", () => {
  for (const card of folded) card.open = false;
});
