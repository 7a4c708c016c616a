import streamlit as st
st.write("hi", st.secrets["assay_url"])
