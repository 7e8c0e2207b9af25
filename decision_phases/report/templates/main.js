// Start every part of the page that is there.
document.documentElement.classList.add("live");
layerChart();
questionBrowser();
frequencyChart();
frequencyMean();
frequencyMultiples();
pruningChart();
pathChart();
pictures();
if (navigator.clipboard && window.isSecureContext) {
  const button = byId("copy");
  button.hidden = false;
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(byId("command").textContent);
    button.textContent = "Copied";
  });
}
