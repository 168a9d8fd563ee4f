"""How the page looks.

The colours are those of Okabe and Ito, made lighter or darker for either ground: they differ in
lightness too, and what matters has a pattern or a shape besides.
"""

CSS = """
:root{--ground:#fff;--ink:#1b1f24;--soft:#5b6470;--rule:#d9dde2;--grid:#e8ebee;--good:#00664a;
--lossy:#8a5a00;--bad:#b3261e;--import:#7a8da6;--start:#cfd7e0;--handler:#e09f1f;--back:#8f5f9e;--serve:#2f86bd;
--run:#a9b2bc;--block:#c8501e;--stop:#6b7480;--code:#f4f6f8}
@media (prefers-color-scheme:dark){:root{--ground:#14171b;--ink:#e6e9ed;--soft:#9aa4b0;
--rule:#30363d;--grid:#22272d;--good:#4cc38a;--lossy:#e3b341;--bad:#ff8a7a;--import:#8296b0;--start:#3d4854;
--handler:#e0a73a;--back:#b98ac8;--serve:#3f93c9;--run:#5d6772;--block:#e8703f;--stop:#97a1ad;
--code:#1b2026}}
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%;text-size-adjust:100%}
body{margin:0;background:var(--ground);color:var(--ink);
font:15px/1.45 system-ui,-apple-system,"Segoe UI",Roboto,"Liberation Sans",sans-serif;
font-variant-numeric:tabular-nums}
main{max-width:1320px;margin:0 auto;padding:28px 24px 40px}
.defs{position:absolute}
h1{font-size:30px;line-height:1.15;margin:0;overflow-wrap:anywhere;font-weight:650}
h2{font-size:17px;margin:0 0 2px;font-weight:650}
.kind{margin:0 0 2px;color:var(--soft);font-size:13px}
.outcome{margin:6px 0 0;overflow-wrap:anywhere}
.good b{color:var(--good)}.lossy b{color:var(--lossy)}.lossy b~b,.bad b,.end.bad,
b.bad{color:var(--bad)}
dl{display:flex;flex-wrap:wrap;gap:10px 28px;margin:16px 0 0;padding:12px 0;
border-top:1px solid var(--rule);border-bottom:1px solid var(--rule)}
dt{color:var(--soft);font-size:12px}dd{margin:0;overflow-wrap:anywhere}
section{margin-top:32px}
.caption,caption{margin:0 0 8px;color:var(--soft);font-size:13px;text-align:left}
ul,ol{list-style:none;margin:0;padding:0}
.legend{display:flex;flex-wrap:wrap;gap:4px 18px;margin-top:18px;font-size:13px;color:var(--soft)}
.legend li{display:flex;align-items:center;gap:6px}
.row,.axis{display:grid;grid-template-columns:228px minmax(0,1fr) 136px;align-items:center}
.axis svg{grid-column:2;overflow:visible;display:block}
.axis text{fill:var(--soft);font-size:12px}
.rows{border-top:1px solid var(--rule);border-bottom:1px solid var(--rule)}
.row{min-height:24px}
.plot svg{display:block;overflow:visible}
.who{font-size:13px;padding-right:12px;position:relative;overflow:hidden;white-space:nowrap;
text-overflow:ellipsis;line-height:24px}
.who b{font-weight:500}.who i,td i,th i{font-style:normal;color:var(--soft);font-weight:400}
.pid{color:var(--soft);font-weight:400;font-size:12px}
.leaf .who,.again .who{padding-left:20px}
.again .who{padding-left:36px}
.leaf .who::before,.again .who::before{content:"";position:absolute;left:6px;top:0;height:100%;
border-left:1px solid var(--rule)}
.leaf .who::after,.again .who::after{content:"";position:absolute;left:6px;top:50%;width:9px;
border-top:1px solid var(--rule)}
.again .who::after{width:25px}
.row:last-child .who::before{height:50%}
.end{font-size:12px;color:var(--soft);padding-left:12px;white-space:nowrap;overflow:hidden;
text-overflow:ellipsis}
.grid{stroke:var(--grid)}.now{stroke:var(--soft);stroke-dasharray:2 2}
.import{fill:var(--import)}.starting{fill:var(--start)}
.handler{fill:var(--handler);stroke:var(--ground);stroke-width:1}
.background{fill:var(--back);stroke:var(--ground);stroke-width:1}
.serving{fill:var(--serve)}.running{fill:var(--run)}
.blocked{fill:url(#slant)}.stopping{fill:url(#stop)}
.ground-blocked{fill:var(--block)}.stripe-blocked{fill:var(--ground);fill-opacity:.55}
.ground-stopping{fill:var(--ground)}.stripe-stopping{fill:var(--stop)}
.mark{stroke:var(--ink);stroke-width:2;fill:none;paint-order:stroke}
.mark.killed,.mark.died,.mark.crashloop{stroke:var(--bad);stroke-width:2.5}
.mark.replaced,.mark.recycled,.mark.slow,.mark.orphan{fill:var(--ground);stroke-width:1.5}
.counts{border:0;padding:2px 0 10px;margin:6px 0 0}
.events li{display:grid;grid-template-columns:auto 96px minmax(0,1fr);gap:0 14px;padding:4px 0;
border-top:1px solid var(--grid);font-size:14px}
.events time{color:var(--soft)}.events b{font-weight:600}
.what{overflow-wrap:anywhere}.what i{font-style:normal;color:var(--soft)}
summary{cursor:pointer}
pre{background:var(--code);padding:8px 10px;margin:6px 0;overflow-x:auto;font-size:12px}
pre,code{font-family:ui-monospace,SFMono-Regular,Menlo,"Liberation Mono",monospace}
code{font-size:12.5px}
h3{font-size:14px;font-weight:600;margin:0 0 2px;overflow-wrap:anywhere}
h3 i,.start i{font-style:normal;font-weight:400;color:var(--soft)}
.starts{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,440px),1fr));
gap:14px 32px;margin-top:8px}
.start li{display:grid;grid-template-columns:72px minmax(0,1fr);gap:0 12px;padding:2px 0;
font-size:13.5px;border-top:1px solid var(--grid);overflow-wrap:anywhere}
.start code{color:var(--soft)}
details{margin-top:10px}.what details{margin:0}section>details>summary{color:var(--soft)}
table{border-collapse:collapse;width:100%;font-size:13.5px}
th,td{padding:4px 10px 4px 0;text-align:left;vertical-align:top;border-top:1px solid var(--grid)}
tbody th,td:last-child{overflow-wrap:anywhere}
thead th{color:var(--soft);font-weight:500;font-size:12px;border-top:0}
tbody th{font-weight:500;min-width:150px}td:nth-child(n+3):nth-child(-n+6){white-space:nowrap}
td:last-child{min-width:170px;padding-right:0}
.number{text-align:right}
footer{margin-top:32px;color:var(--soft);font-size:12px;overflow-wrap:anywhere}
:focus-visible{outline:2px solid var(--serve);outline-offset:2px}
@media (max-width:720px){
main{padding:18px 14px 32px}h1{font-size:24px}dl{gap:8px 20px}
.row{grid-template-columns:minmax(0,1fr) auto;padding:5px 0 1px}
.plot{grid-column:1/-1;grid-row:2}.axis{grid-template-columns:minmax(0,1fr)}
.axis svg{grid-column:1}.who,.end{line-height:16px}
.row .who::before{height:100%}
.events li{grid-template-columns:auto minmax(0,1fr)}.what{grid-column:1/-1}
table,caption,tbody,tr,tbody th,td{display:block}td.none{display:none}
thead{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%)}
tr{padding:6px 0;border-top:1px solid var(--rule)}
tbody th,td{padding:1px 0;border:0}
td:not(.none){display:grid;grid-template-columns:96px minmax(0,1fr)}
td::before{content:attr(data-name);color:var(--soft);font-size:12px;line-height:20px}}
@media print{:root{--ground:#fff}main{max-width:none;padding:0}.row,li,tr{break-inside:avoid}
rect,path,pattern{print-color-adjust:exact;-webkit-print-color-adjust:exact}}
"""
