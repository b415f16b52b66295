// Light or dark: as the system has it, or as somebody has chosen for this browser.
const KEY = "dunlin-theme";

export const THEMES = [
  ["auto", "As the system"],
  ["light", "Light"],
  ["dark", "Dark"],
];

export function chosenTheme() {
  try {
    const theme = localStorage.getItem(KEY);
    return THEMES.some(([name]) => name === theme) ? theme : "auto";
  } catch {
    return "auto"; // storage is switched off
  }
}

export function chooseTheme(theme) {
  try {
    localStorage.setItem(KEY, theme);
  } catch {
    // It holds until the page is loaded again.
  }
  applyTheme(theme);
}

export function applyTheme(theme = chosenTheme()) {
  document.documentElement.dataset.theme = theme;
  dispatchEvent(new Event("themechange"));
}

// What plots are drawn with: a canvas does not follow style sheets by itself.
export function color(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => dispatchEvent(new Event("themechange")));
