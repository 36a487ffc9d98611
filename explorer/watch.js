// Says above a page what its own requests found out: that nobody is logged in any more, or that the server is away.
(() => {
  const OUT = "You are logged out, or this page is too old.";
  const AWAY = "The server can't be reached: it is being restarted, or the line is cut. This page goes on by itself.";
  const FAST = "That was too fast for the server: wait a moment, then try again.";
  let note = null;

  function say(text, link) {
    if (note === null) {
      note = document.createElement("div");
      note.setAttribute("role", "alert");
      note.style.cssText =
        "position: fixed; z-index: 10000; top: 0; left: 50%; transform: translateX(-50%); max-width: 90vw; " +
        "padding: .6rem 1.1rem; border-radius: 0 0 .5rem .5rem; background: #b45309; color: #fff; " +
        "font: 15px/1.4 system-ui, sans-serif; box-shadow: 0 2px 8px #0005";
      document.body.append(note);
    }
    note.textContent = text;
    if (link) {
      const again = document.createElement("a");
      again.href = location.href;
      again.textContent = "Open it again";
      again.style.cssText = "color: #fff; margin-left: .6rem; text-decoration: underline";
      note.append(again);
    }
  }

  function unsay(text) {
    if (note !== null && note.textContent.startsWith(text)) {
      note.remove();
      note = null;
    }
  }

  const ask = window.fetch;
  window.fetch = async function (...request) {
    let answer;
    try {
      answer = await ask.apply(this, request);
    } catch (error) {
      // What the page itself gave up is no sign of anything.
      if (error.name === "TypeError") say(AWAY, false);
      throw error;
    }
    if (answer.status === 401) say(OUT, true);
    else if (answer.status === 429) {
      say(FAST, false);
      setTimeout(() => unsay(FAST), 5000);
    } else if ([502, 503, 504].includes(answer.status)) say(AWAY, false);
    else if (answer.ok) unsay(AWAY);
    return answer;
  };
})();
