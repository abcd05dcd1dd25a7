/** How the page looks. Colours are variables, which pictures read too; all text has a contrast of 4.5 or more in both themes. */

const LIGHT = `color-scheme:light;--page:#f4f6f9;--card:#fff;--ink:#161c24;--dim:#55606e;--line:#dce2ea;--grid:#e9edf2;--soft:#eef2f7;
--accent:#1f5fae;--new:#e07b16;--kept:#7fa9d8;--shared:#3c9c72;--bad:#b3261e;--good:#1b7a4b;
--heat-0:#f3f7fc;--heat-1:#c6dcf2;--heat-2:#86b5e0;--heat-3:#4284c6;--heat-4:#1c5497;--heat-5:#0a2a58;--cell:31 95 174;`;
const DARK = `color-scheme:dark;--page:#0e1218;--card:#171d26;--ink:#e7ecf3;--dim:#9aa6b5;--line:#2b3441;--grid:#252d39;--soft:#202834;
--accent:#7db4f2;--new:#f09a45;--kept:#3c628f;--shared:#4fb68a;--bad:#ff8f86;--good:#63cf98;
--heat-0:#182130;--heat-1:#1c3757;--heat-2:#265c92;--heat-3:#4389cc;--heat-4:#8abdf0;--heat-5:#dcedff;--cell:90 150 225;`;

/** The style sheet. */
export const STYLE: string = `
:root{${LIGHT}}
@media (prefers-color-scheme:dark){:root{${DARK}}}
:root:has(#theme-light:checked){${LIGHT}}
:root:has(#theme-dark:checked){${DARK}}
*{box-sizing:border-box}
html{scroll-padding-top:4rem}
body{margin:0;background:var(--page);color:var(--ink);font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans",sans-serif;font-variant-numeric:tabular-nums}
header,main,#filter{max-width:1280px;margin:0 auto;padding:0 1.5rem}
header{display:flex;gap:1rem;justify-content:space-between;align-items:flex-start;padding-top:1.75rem}
h1{font-size:1.6rem;line-height:1.2;margin:0;letter-spacing:-.01em}
h2{font-size:1.15rem;margin:0 0 .9rem;letter-spacing:-.005em}
h3{font-size:1rem;margin:0}
p{margin:.25rem 0}
.targets{font-weight:600;overflow-wrap:anywhere}
.dim,small,.note,figcaption p,caption{color:var(--dim)}
small{display:block;font-size:.78em;line-height:1.2}
code{font:.88em/1.4 ui-monospace,"DejaVu Sans Mono",Menlo,Consolas,monospace;overflow-wrap:anywhere}
.bad{color:var(--bad)}.good{color:var(--good)}
section{background:var(--card);border:1px solid var(--line);border-radius:12px;padding:1.25rem 1.4rem;margin:1rem 0}
fieldset{border:0;margin:0;padding:0;display:inline-flex}
legend{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%)}
.theme,.choice{background:var(--soft);border-radius:8px;padding:2px}
.theme label,.choice label{position:relative;cursor:pointer}
.theme input,.choice input{position:absolute;inset:0;opacity:0;margin:0;cursor:pointer}
.theme span,.choice span{display:block;padding:.15rem .7rem;border-radius:6px;color:var(--dim);font-size:.86rem}
input:checked+span{background:var(--card);color:var(--ink);box-shadow:0 0 0 1px var(--line)}
:is(a,button,input,select,summary,.scroll):focus-visible,input:focus-visible+span{outline:2px solid var(--accent);outline-offset:1px}
#filter{position:sticky;top:0;z-index:5;display:flex;flex-wrap:wrap;gap:.5rem 1.2rem;align-items:center;padding-top:.6rem;padding-bottom:.6rem;background:var(--page)}
#filter[hidden]{display:none}
label{font-size:.9rem}
select,input[type=search],button{font:inherit;font-size:.9rem;color:var(--ink);background:var(--card);border:1px solid var(--line);border-radius:7px;padding:.28rem .55rem;max-width:100%}
select{max-width:min(22rem,100%);text-overflow:ellipsis}
button{cursor:pointer}
output{font-size:.86rem;color:var(--dim)}
.bars{margin:0;display:grid;gap:.7rem}
.figure dt{font-weight:600}.figure dt span{font-weight:400;color:var(--dim);font-size:.88rem;margin-left:.35rem}
.figure dd{margin:.1rem 0 0;display:grid;grid-template-columns:5.5rem 1fr 9rem;gap:.6rem;align-items:center}
.track{height:1.15rem;background:var(--soft);border-radius:5px;overflow:hidden}
.track i{display:block;height:100%;width:calc(var(--v)*100%);min-width:2px;background:var(--kept);border-radius:5px}
.figure:nth-child(2) i{background:var(--accent)}
.figure:nth-child(n+3) i{background:var(--shared)}
.figure dd b{font-size:1.15rem;white-space:nowrap}.figure dd small{font-size:.86rem;text-align:right}
.thresholds{list-style:none;margin:0 0 1rem;padding:0;display:grid;gap:.3rem}
.pictures{display:grid;gap:1.5rem 1.75rem;grid-template-columns:repeat(auto-fit,minmax(min(100%,33rem),1fr))}
.picture{margin:0;min-width:0;display:flex;flex-direction:column}
.picture figcaption p{font-size:.88rem;min-height:2.6em}
#storage,#costs{grid-column:1/-1}
#storage figcaption p,#costs figcaption p{min-height:0}
.canvas{height:400px;width:100%;margin-top:.4rem}
.controls{display:flex;flex-wrap:wrap;gap:.6rem;align-items:center;min-height:1.9rem;margin:.3rem 0}
#storage .controls,#costs .controls{min-height:0;margin:0}
.controls.series{margin-bottom:1rem}
.told{font-size:.88rem;max-height:16rem;overflow:auto}
.told:not(:empty){border-top:1px solid var(--line);margin-top:.5rem;padding-top:.5rem}
.told ul{margin:.3rem 0 0;padding-left:1.1rem}
.tip{max-width:26rem;white-space:normal;font-size:13px;line-height:1.45}
.tip b{overflow-wrap:anywhere}
.scroll{overflow:auto;max-height:34rem;border:1px solid var(--line);border-radius:9px;margin:.6rem 0}
table{border-collapse:separate;border-spacing:0;width:100%;font-size:.88rem}
caption{text-align:left;padding:.5rem .75rem;font-size:.86rem}
th,td{padding:.38rem .75rem;text-align:left;vertical-align:top;border-bottom:1px solid var(--grid)}
tbody tr:last-child>*{border-bottom:0}
thead th{position:sticky;top:0;z-index:1;background:var(--soft);font-weight:600;vertical-align:bottom;border-bottom:1px solid var(--line)}
tbody th{font-weight:600;overflow-wrap:break-word;min-width:12rem;max-width:26rem}
code[title],time{white-space:nowrap}
td:has(br){min-width:19rem}
h2+.scroll table:not(.heat) caption{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%);padding:0}
.n{text-align:right;white-space:nowrap}
thead button{all:unset;cursor:pointer;font-weight:600}
thead button::after{content:"";display:inline-block;width:1em;text-align:right;color:var(--dim)}
th[aria-sort=ascending] button::after{content:"\\2191"}th[aria-sort=descending] button::after{content:"\\2193"}
tbody tr:hover>*{background:var(--soft)}
.bar{display:block;height:4px;margin-top:.2rem;border-radius:2px;background:linear-gradient(to right,var(--tone,var(--kept)) calc(var(--v)*100%),var(--grid) 0)}
.unique{--tone:var(--new)}.shared{--tone:var(--shared)}
.heat td{background:rgb(var(--cell)/calc(var(--v)*.55));text-align:right;white-space:nowrap}
.heat tbody th{min-width:0}
.names{columns:14rem}
[hidden]{display:none!important}
@media print{#filter,.theme,.controls{display:none}.scroll{max-height:none;overflow:visible}section{break-inside:avoid-page}}
@media (max-width:40rem){header{flex-direction:column}header,main,#filter{padding-left:.8rem;padding-right:.8rem}.figure dd{grid-template-columns:5rem 1fr}.figure dd small{grid-column:2}section{padding:1rem .9rem}}
:root[data-script] .scriptless,:root:not([data-script]) :is(.pictures,.series){display:none}
`.trim();
