// A browser loads no modules from a file: this script, which is none, then says what to do.
if (location.protocol === 'file:') {
  const folder = decodeURIComponent(location.pathname.replace(/[^/]*$/, ''))
  document.getElementById('folder').textContent = folder
  document.getElementById('unserved').hidden = false
  document.body.classList.add('is-unserved')
}
