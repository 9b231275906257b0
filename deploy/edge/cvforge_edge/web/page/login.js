// The form works without this file. With it, a link that ends in #token logs in by itself, and a session is used at once.

const form = document.querySelector("form");

function logInByLink() {
  const token = decodeURIComponent(location.hash.slice(1));
  if (!token) return false;
  history.replaceState(null, "", "/login"); // neither the history nor a bookmark keeps it
  form.elements.token.value = token;
  form.submit();
  return true;
}

document.getElementById("wrong").hidden = location.search !== "?wrong";
addEventListener("hashchange", logInByLink);
// Who follows a link of another site comes without the cookie (SameSite=Strict); asked from here it is sent.
if (!logInByLink() && !location.search) location.replace("/login?again");
