// Light, dark, or as the system has it. Runs before the first paint, so it is no module.
{
  const KEY = "learec theme"
  const THEMES = ["system", "light", "dark"]
  const { dataset } = document.documentElement
  dataset.theme = localStorage.getItem(KEY) ?? "system"

  addEventListener("DOMContentLoaded", () => {
    const button = document.getElementById("theme")
    const label = () => {
      button.title = button.ariaLabel = `Theme: ${dataset.theme}`
    }
    button.addEventListener("click", () => {
      dataset.theme = THEMES[(THEMES.indexOf(dataset.theme) + 1) % THEMES.length]
      localStorage.setItem(KEY, dataset.theme)
      label()
    })
    label()
  })
}
