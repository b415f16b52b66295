// The page begins here.
import { render } from "preact";
import "uplot/dist/uPlot.min.css";
import "./style.css";
import { App } from "./app.jsx";
import { applyTheme } from "./theme.js";

applyTheme();
render(<App />, document.getElementById("app"));
