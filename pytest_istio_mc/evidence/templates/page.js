"use strict";
(function () {
  document.querySelectorAll("pre.copy").forEach(function (pre) {
    var button = document.createElement("button");
    button.type = "button";
    button.className = "copy-button";
    button.textContent = "Copy";
    button.setAttribute("aria-live", "polite");
    button.addEventListener("click", function () {
      var done = function () { button.textContent = "Copied"; };
      var selected = function () {
        getSelection().selectAllChildren(pre);
        if (document.execCommand("copy")) { done(); } else { button.textContent = "Selected: copy it by hand"; }
      };
      if (navigator.clipboard) { navigator.clipboard.writeText(pre.textContent).then(done, selected); } else { selected(); }
    });
    pre.parentNode.insertBefore(button, pre);
  });
  function reveal() {
    var place = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (!place) { return; }
    for (var at = place; at; at = at.parentElement) { if (at.tagName === "DETAILS") { at.open = true; } }
    place.scrollIntoView();
  }
  addEventListener("hashchange", reveal);
  reveal();
  addEventListener("beforeprint", function () {
    document.querySelectorAll("details").forEach(function (one) { one.open = true; });
  });
})();
