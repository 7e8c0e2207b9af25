// Pictures of single questions, drawn by the script of CircuitsVis that stands in front of this one.
function pictures() {
  for (const [place, { element, values }] of Object.entries(data.pictures)) {
    CircuitsVis.render(place, CircuitsVis[element], values);
  }
}
