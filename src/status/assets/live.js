// Keeps the page fresh, and says loudly when it is not.
(function () {
  'use strict';
  var OLD_AFTER_MS = 10000;
  var body = document.body;
  var old = document.getElementById('old');
  var since = document.getElementById('old-since');
  var heard = Date.now();
  var build = '';
  var source;

  function alive(boxTime) {
    heard = Date.now();
    old.hidden = true;
    body.className = '';
    if (boxTime) { since.textContent = boxTime; }
  }

  // The box was started anew with other machines, words or files, or forms stand in other places.
  // What somebody is just typing stays.
  function follow(build) {
    var busy = document.activeElement && document.activeElement.tagName === 'INPUT';
    if (build && build !== body.dataset.build && !busy) { location.reload(); return true; }
    return build && build !== body.dataset.build;
  }

  // Every text in the fragments was escaped by the box.
  function put(cells) {
    Object.keys(cells).forEach(function (id) {
      var place = document.getElementById(id);
      if (place) { place.innerHTML = cells[id]; }
    });
  }

  // When the box takes no more live readers, asking now and then is still allowed.
  function ask() {
    fetch(body.dataset.live + (body.dataset.live.indexOf('?') < 0 ? '?' : '&') + 'once=1')
      .then(function (answer) { return answer.ok ? answer.json() : null; })
      .then(function (answer) {
        if (answer && !follow(answer.build)) { put(answer.cells); alive(answer.time); }
      })
      .catch(function () { /* the banner says it */ });
  }

  function open() {
    source = new EventSource(body.dataset.live);
    source.addEventListener('build', function (event) { build = event.data; follow(build); });
    source.addEventListener('cells', function (event) {
      // Never under forms that belong to something else.
      if (!follow(build)) { put(JSON.parse(event.data)); }
      alive(event.lastEventId);
    });
    source.addEventListener('beat', function (event) { alive(event.lastEventId); });
    source.onerror = function () {
      if (source.readyState === EventSource.CLOSED) { ask(); setTimeout(open, 5000); }
    };
  }

  setInterval(function () {
    if (Date.now() - heard > OLD_AFTER_MS) {
      old.hidden = false;
      body.className = 'is-old';
    }
  }, 1000);
  // A browser keeps pages that were left, with their streams, and has only six connections for one box:
  // the seventh page would wait for a minute. Who comes back gets the page as it is now.
  addEventListener('pagehide', function () { source.close(); });
  addEventListener('pageshow', function (event) { if (event.persisted) { location.reload(); } });
  open();
}());
