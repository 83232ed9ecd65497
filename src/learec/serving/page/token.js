// Asks for the token that the service wants. It is kept in this tab's session storage and nowhere else.

import { find } from "./elements.js"
import { token } from "./service.js"

const [dialog, input, wrong, forget] = ["token-dialog", "token", "token-wrong", "forget-token"].map(find)

/** Once: `go()` is called when there is another token to try, or none any more. */
export function startToken(go) {
  dialog.addEventListener("submit", event => {
    event.preventDefault()
    token.set(input.value.trim())
    dialog.close()
    go()
  })
  input.addEventListener("input", () => {
    // No header can carry anything else.
    input.setCustomValidity(/^[!-~]+$/.test(input.value.trim()) ? "" : "Letters, digits and signs without spaces, please.")
  })
  find("token-cancel").addEventListener("click", () => dialog.close())
  forget.addEventListener("click", () => {
    token.forget()
    go()
  })
}

/** Open the dialog. A token that did not do is said to be wrong, and forgotten. */
export function askForToken() {
  if (dialog.open) return
  wrong.textContent = token.get() ? "The service does not accept that token." : ""
  token.forget()
  input.value = ""
  dialog.showModal()
}

/** Show the button that forgets the token, if there is one. */
export function showToken() {
  forget.hidden = token.get() === null
}
