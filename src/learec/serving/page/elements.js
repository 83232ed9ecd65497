// Elements of the page. What comes from the service goes in as text or attributes, never as HTML.

export const find = id => document.getElementById(id)

/** An element; of its attributes functions are listeners, false and null are left out. Strings among children are text. */
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag)
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name, value)
    else if (value !== false && value !== null) element.setAttribute(name, value === true ? "" : value)
  }
  element.append(...children)
  return element
}

/** A button with children. */
export const button = (attributes, ...children) => make("button", { type: "button", ...attributes }, ...children)

/** The title of an item (without one, its id), with more below it. */
export function named(item, ...more) {
  const title = item.title || item.item_id
  return make("span", { class: item.title ? "named" : "named by-id" }, make("span", { class: "title", title }, title), ...more)
}

/** The same with the item's category. */
export function described(item, ...more) {
  const category = item.stranger ? "not in the catalog" : item.category ?? ""
  return named(item, make("span", { class: "category muted", title: category }, category), ...more)
}
